/** What all parts of the console need to show something. Text only ever becomes text, never markup. */

const MAX_SHOWN_CHARS = 4000;

export const byId = (id) => document.getElementById(id);

export function create(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

/** A row from a `<template>`, with a text for each of the class names. */
export function createRow(template, texts) {
  const row = byId(template).content.firstElementChild.cloneNode(true);
  for (const [name, text] of Object.entries(texts)) row.querySelector(`.${name}`).textContent = text;
  return row;
}

export function shorten(text, limit) {
  return text.length <= limit ? text : `${text.slice(0, limit)}… (${text.length - limit} more characters)`;
}

export function describeData(data) {
  return shorten(typeof data === "string" ? data : JSON.stringify(data, null, 2) ?? "", MAX_SHOWN_CHARS);
}

export function onSubmit(id, handler) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    handler();
  });
}
