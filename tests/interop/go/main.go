// Performs the plan of tests/interop/pushes.py with net/http.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const pause = 10 * time.Millisecond

type answer struct {
	status int
	body   []byte
}

func main() {
	base := os.Args[1]
	plan, err := os.Open(os.Args[2])
	check(err)
	defer plan.Close()
	lines := bufio.NewScanner(plan)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		posted := post(base, strings.Split(lines.Text(), "\t"))
		next := send(http.NewRequest("GET", base+"/healthz", nil))
		fmt.Printf("%s\t%s\n", told(posted), told(next))
	}
	check(lines.Err())
}

func post(base string, fields []string) answer {
	mode, path, contentType, parts := fields[0], fields[1], fields[2], fields[3:]
	body, length := reader(parts)
	if mode == "go-one" {
		whole, err := io.ReadAll(body)
		check(err)
		body = bytes.NewReader(whole)
	}
	request, err := http.NewRequest("POST", base+path, body)
	check(err)
	request.Header.Set("Content-Type", contentType)
	if mode == "go-halves" {
		request.ContentLength = length
	}
	return send(request, nil)
}

// reader gives one part at a time, with a pause between them.
func reader(parts []string) (io.Reader, int64) {
	decoded, length := [][]byte{}, int64(0)
	for _, part := range parts {
		data, err := base64.StdEncoding.DecodeString(part)
		check(err)
		decoded = append(decoded, data)
		length += int64(len(data))
	}
	body, out := io.Pipe()
	go func() {
		for number, part := range decoded {
			if number > 0 {
				time.Sleep(pause)
			}
			if _, err := out.Write(part); err != nil {
				return
			}
		}
		out.Close()
	}()
	return body, length
}

func send(request *http.Request, err error) answer {
	check(err)
	response, err := http.DefaultClient.Do(request)
	check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err)
	return answer{response.StatusCode, body}
}

func told(answer answer) string {
	return fmt.Sprintf("%d\t%s", answer.status, base64.StdEncoding.EncodeToString(answer.body))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
