package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// How to reach Kafka, from the variables that a processor reads.
func connection() ([]kgo.Opt, error) {
	options := []kgo.Opt{kgo.SeedBrokers(strings.Split(cmp.Or(os.Getenv("VP_KAFKA__BOOTSTRAP"), "127.0.0.1:9092"), ",")...)}
	protocol := os.Getenv("VP_KAFKA__SECURITY_PROTOCOL")
	if strings.HasSuffix(protocol, "SSL") {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if file := os.Getenv("VP_KAFKA__SSL_CA_FILE"); file != "" {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("VP_KAFKA__SSL_CA_FILE: %s holds no certificate", file)
			}
		}
		if file := os.Getenv("VP_KAFKA__SSL_CERTIFICATE_FILE"); file != "" {
			pair, err := tls.LoadX509KeyPair(file, os.Getenv("VP_KAFKA__SSL_KEY_FILE"))
			if err != nil {
				return nil, err
			}
			config.Certificates = []tls.Certificate{pair}
		}
		options = append(options, kgo.DialTLSConfig(config))
	}
	if !strings.HasPrefix(protocol, "SASL") {
		return options, nil
	}
	user, password := os.Getenv("VP_KAFKA__SASL_USERNAME"), os.Getenv("VP_KAFKA__SASL_PASSWORD")
	if file := os.Getenv("VP_KAFKA__SASL_PASSWORD_FILE"); password == "" && file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		password = strings.TrimSpace(string(text))
	}
	switch mechanism := cmp.Or(os.Getenv("VP_KAFKA__SASL_MECHANISM"), "SCRAM-SHA-512"); mechanism {
	case "PLAIN":
		return append(options, kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism())), nil
	case "SCRAM-SHA-256":
		return append(options, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism())), nil
	case "SCRAM-SHA-512":
		return append(options, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism())), nil
	default:
		return nil, fmt.Errorf("VP_KAFKA__SASL_MECHANISM: %s is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", mechanism)
	}
}
