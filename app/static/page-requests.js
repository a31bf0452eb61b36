/** Requests of the console: `{method, url, headers, body}`, which go out by `fetch` or are shown as a curl command. */

import { byId, shorten } from "./page-elements.js";

/** Where the service is: it may be published under a path. Without a slash at the end. */
export const SERVICE_URL = new URL(".", location.href).href.replace(/\/$/, "");

const MAX_PAGE_CHARS = 300; // of an answer that is no JSON, as the page of a proxy

/** @throws {Error} with a sentence to show, if nobody answered */
export async function send({ url, ...options }, signal) {
  try {
    return await fetch(url, { ...options, signal });
  } catch (error) {
    throw new Error(`No answer: ${error.message}`);
  }
}

/** The JSON of a good answer. @throws {Error} with a text to show, for every other */
export async function sendForJson(request, signal) {
  const response = await send(request, signal);
  if (!response.ok) throw new Error(await describeAnswer(response));
  return response.json();
}

export async function describeAnswer(response) {
  const status = [response.status, response.statusText].filter(Boolean).join(" ");
  const text = await response.text();
  if (!response.headers.get("content-type")?.includes("json")) return `${status}\n${shorten(text, MAX_PAGE_CHARS)}`;
  const answer = JSON.parse(text);
  if (response.ok) return `${status}\n${JSON.stringify(answer, null, 2)}`;
  return [status, answer.title, answer.detail].filter(Boolean).join("\n");
}

export function curlCommand({ method, url, headers, body }) {
  const start = method === "GET" ? "curl" : `curl -X ${method}`;
  const options = Object.entries(headers).map(([name, value]) => `-H ${shellQuote(`${name}: ${value}`)}`);
  // --data-raw, because -d would read a file where the text starts with "@"
  if (body !== undefined) options.push(`--data-raw ${shellQuote(body)}`);
  return [start, ...options, shellQuote(url)].join(" ");
}

/** For any POSIX shell: nothing is special between single quotes but the single quote. */
function shellQuote(text) {
  return /^[\w@%+:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

async function copy(source, button) {
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    getSelection().selectAllChildren(source); // no clipboard outside of https and localhost
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

export function startCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(byId(button.dataset.copy), button));
  }
}
