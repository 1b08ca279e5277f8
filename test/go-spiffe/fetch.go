package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type fetched struct {
	ID          string         `json:"id"`
	X509        Verdict        `json:"x509"`
	X509Domains []string       `json:"x509Domains"`
	JWT         Verdict        `json:"jwt"`
	JWTDomains  []string       `json:"jwtDomains"`
	Validated   Verdict        `json:"validated"`
	Claims      map[string]any `json:"claims"`
}

// fetch gets everything the Workload API has and judges it with go-spiffe's verifiers.
func fetch(ctx context.Context, request Request) (*fetched, error) {
	client, err := workloadapi.New(ctx, workloadapi.WithAddr("unix://"+request.Socket))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	x509Context, err := client.FetchX509Context(ctx)
	if err != nil {
		return nil, fmt.Errorf("FetchX509Context: %w", err)
	}
	x509Bundles, err := client.FetchX509Bundles(ctx)
	if err != nil {
		return nil, fmt.Errorf("FetchX509Bundles: %w", err)
	}
	jwtBundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return nil, fmt.Errorf("FetchJWTBundles: %w", err)
	}
	token, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: request.Audience})
	if err != nil {
		return nil, fmt.Errorf("FetchJWTSVID: %w", err)
	}

	svid := x509Context.DefaultSVID()
	result := &fetched{ID: svid.ID.String(), X509: verdict(x509svid.Verify(svid.Certificates, x509Context.Bundles))}
	for _, bundle := range x509Bundles.Bundles() {
		result.X509Domains = append(result.X509Domains, bundle.TrustDomain().Name())
	}
	for _, bundle := range jwtBundles.Bundles() {
		result.JWTDomains = append(result.JWTDomains, bundle.TrustDomain().Name())
	}
	sort.Strings(result.X509Domains)
	sort.Strings(result.JWTDomains)
	parsed, err := jwtsvid.ParseAndValidate(token.Marshal(), jwtBundles, []string{request.Audience})
	result.JWT = jwtVerdict(parsed, err)
	if err == nil {
		result.Claims = parsed.Claims
	}
	result.Validated = jwtVerdict(client.ValidateJWTSVID(ctx, token.Marshal(), request.Audience))
	return result, nil
}

type watcher struct {
	updates chan *workloadapi.X509Context
	errors  chan error
}

func (w *watcher) OnX509ContextUpdate(update *workloadapi.X509Context) { w.updates <- update }
func (w *watcher) OnX509ContextWatchError(err error)                   { w.errors <- err }

// watch prints the serial number of each SVID that arrives and ends after the number of updates asked for.
func watch(ctx context.Context, request Request, out *json.Encoder) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watcher{updates: make(chan *workloadapi.X509Context, 16), errors: make(chan error, 16)}
	go func() {
		w.errors <- workloadapi.WatchX509Context(ctx, w, workloadapi.WithAddr("unix://"+request.Socket))
	}()
	for seen := 1; ; seen++ {
		select {
		case update := <-w.updates:
			svid := update.DefaultSVID()
			line := map[string]any{
				"serial": svid.Certificates[0].SerialNumber.Text(16),
				"x509":   verdict(x509svid.Verify(svid.Certificates, update.Bundles)),
			}
			if seen == request.Updates {
				return line, nil
			}
			if err := out.Encode(line); err != nil {
				return nil, err
			}
		case err := <-w.errors:
			return nil, err
		}
	}
}
