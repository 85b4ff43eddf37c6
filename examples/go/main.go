// Publishes one request, waits for its final result, and prints it. See the README beside the examples.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const failed, usage, noResult = 1, 2, 3

type result struct {
	RequestID string `json:"request_id"`
	Kind      string `json:"kind"`
	Status    string `json:"status"`
	Error     *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Source struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
	} `json:"source"`
}

// A copy answers the record that it names and no other; a conflict is ours only if it names our record as its source.
func (r result) answers(ours, found *kgo.Record, requestID string) bool {
	if r.RequestID != requestID || r.Kind != "final" {
		return false
	}
	for _, header := range found.Headers {
		if header.Key == "vp-copy-for" {
			return string(header.Value) == fmt.Sprintf("%s[%d]@%d", ours.Topic, ours.Partition, ours.Offset)
		}
	}
	return r.Status != "conflict" || (r.Source.Topic == ours.Topic && r.Source.Partition == ours.Partition && r.Source.Offset == ours.Offset)
}

func ask(ctx context.Context, operation, requestID string, input map[string]any) (result, error) {
	var found result
	options, err := connection()
	if err != nil {
		return found, err
	}
	client, err := kgo.NewClient(append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))...) // idempotent, acks of all, by default
	if err != nil {
		return found, err
	}
	defer client.Close()
	prefix := cmp.Or(os.Getenv("VP_KAFKA__TOPIC_PREFIX"), "verification")
	// from the end on as it is before the request is published: its result cannot be missed
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, prefix+".results")
	if err = cmp.Or(err, ends.Error()); err != nil {
		return found, err
	}
	client.AddConsumePartitions(ends.KOffsets())
	value, err := json.Marshal(map[string]any{"request_id": requestID, "operation": operation, "input": input})
	if err != nil {
		return found, err
	}
	person, _ := input["vendor_data"].(string)
	ours := &kgo.Record{Topic: prefix + ".requests", Key: []byte(cmp.Or(person, requestID)), Value: value}
	if err := client.ProduceSync(ctx, ours).FirstErr(); err != nil {
		return found, err
	}
	for {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return found, err
		}
		for records := fetches.RecordIter(); !records.Done(); {
			record := records.Next()
			if json.Unmarshal(record.Value, &found) == nil && found.answers(ours, record, requestID) {
				return found, nil
			}
			found = result{}
		}
	}
}

func main() {
	input := map[string]any{}
	if len(os.Args) < 3 || json.Unmarshal([]byte(os.Args[2]), &input) != nil {
		fmt.Fprintln(os.Stderr, "usage: ask OPERATION INPUT-AS-JSON [REQUEST_ID]")
		os.Exit(usage)
	}
	requestID := rand.Text()
	if len(os.Args) > 3 {
		requestID = os.Args[3]
	}
	timeoutS, err := strconv.ParseFloat(cmp.Or(os.Getenv("TIMEOUT_S"), "120"), 64)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(timeoutS*float64(time.Second)))
	defer cancel()
	var found result
	if err == nil {
		found, err = ask(ctx, os.Args[1], requestID, input)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v; ask again under this id\n", requestID, err)
		os.Exit(noResult)
	}
	fmt.Println(requestID, found.Status)
	if found.Error != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", found.Error.Code, found.Error.Message)
	}
	if found.Status != "succeeded" {
		os.Exit(failed)
	}
}
