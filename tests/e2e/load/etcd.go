package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type etcdClient struct {
	http *http.Client
	url  string
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func (c *etcdClient) post(path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := c.http.Post(c.url+path, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", path, resp.Status, answer)
	}
	return err
}

func (c *etcdClient) put(i int) error {
	return c.post("/v3/kv/put", map[string]string{"key": b64(fmt.Sprint("key/", i)), "value": b64(strings.Repeat("v", 300))})
}

func (c *etcdClient) get(i int) error {
	return c.post("/v3/kv/range", map[string]string{"key": b64(fmt.Sprint("key/", i))})
}

// watch opens a stream that stays, and reads what comes.
func (c *etcdClient) watch(i int) {
	body := fmt.Sprintf(`{"create_request":{"key":%q}}`, b64(fmt.Sprint("key/", i)))
	resp, err := (&http.Client{}).Post(c.url+"/v3/watch", "application/json", strings.NewReader(body))
	if err != nil {
		return
	}
	io.Copy(io.Discard, resp.Body)
}

func etcd(address string, clients, fill int, pause time.Duration) error {
	t := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: 0}
	c := &etcdClient{http: &http.Client{Transport: t, Timeout: time.Minute}, url: address}
	if err := inParallel(fill, 64, c.put); err != nil {
		return err
	}
	for i := 0; i < 50; i++ {
		go c.watch(i)
	}
	for n := 0; n < clients; n++ {
		go func(n int) {
			for i := n; ; i += 7 {
				start := time.Now()
				if i%4 == 0 {
					note(start, c.put(i%fill))
				} else {
					note(start, c.get(i%fill))
				}
				time.Sleep(pause)
			}
		}(n)
	}
	return nil
}
