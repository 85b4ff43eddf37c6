// A foreign client: publishes requests with franz-go's default codec and with every other one, then reads their final results
// read_committed and prints their ids.
// Arguments: bootstrap servers, requests topic, results topic.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const each = 3

func codecs() map[string][]kgo.Opt {
	with := func(codec kgo.CompressionCodec) []kgo.Opt { return []kgo.Opt{kgo.ProducerBatchCompression(codec)} }
	return map[string][]kgo.Opt{
		"default": nil,
		"none":    with(kgo.NoCompression()),
		"gzip":    with(kgo.GzipCompression()),
		"snappy":  with(kgo.SnappyCompression()),
		"lz4":     with(kgo.Lz4Compression()),
		"zstd":    with(kgo.ZstdCompression()),
	}
}

func publish(ctx context.Context, servers, topic, codec string, options []kgo.Opt) []string {
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(servers), kgo.DefaultProduceTopic(topic))...)
	check(err)
	defer client.Close()
	var ids []string
	var records []*kgo.Record
	for i := 0; i < each; i++ {
		id := fmt.Sprintf("go-%s-%d", codec, i)
		value := fmt.Sprintf(`{"request_id":%q,"operation":"aml","input":{"full_name":"Ann %s"}}`, id, strings.Repeat("x", 100))
		records = append(records, kgo.StringRecord(value))
		ids = append(ids, id)
	}
	check(client.ProduceSync(ctx, records...).FirstErr())
	return ids
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	servers, requests, results := os.Args[1], os.Args[2], os.Args[3]
	wanted := map[string]bool{}
	for codec, options := range codecs() {
		for _, id := range publish(ctx, servers, requests, codec, options) {
			wanted[id] = true
		}
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(servers), kgo.ConsumeTopics(results),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	check(err)
	defer reader.Close()
	for len(wanted) > 0 {
		fetches := reader.PollFetches(ctx)
		check(fetches.Err0())
		fetches.EachRecord(func(record *kgo.Record) {
			var result struct {
				RequestID string `json:"request_id"`
				Status    string `json:"status"`
			}
			check(json.Unmarshal(record.Value, &result))
			if wanted[result.RequestID] && result.Status != "waiting" {
				delete(wanted, result.RequestID)
				fmt.Println(result.RequestID, result.Status)
			}
		})
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
