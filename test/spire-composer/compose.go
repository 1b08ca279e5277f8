package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/printer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"shellstream.test/spire-composer/gen/composerpb"
	"shellstream.test/spire-composer/gen/configpb"
)

const (
	composer = "/spire.plugin.server.credentialcomposer.v1.CredentialComposer/"
	config   = "/spire.service.common.config.v1.Config/"
)

func (h *host) configure(request Request) error {
	return h.conn.Invoke(context.Background(), config+"Configure", &configpb.ConfigureRequest{
		CoreConfiguration: &configpb.CoreConfiguration{TrustDomain: request.TrustDomain},
		HclConfiguration:  request.PluginData,
	}, &configpb.ConfigureResponse{})
}

func (h *host) validate(request Request) (any, error) {
	var answer configpb.ValidateResponse
	err := h.conn.Invoke(context.Background(), config+"Validate", &configpb.ValidateRequest{
		CoreConfiguration: &configpb.CoreConfiguration{TrustDomain: request.TrustDomain},
		HclConfiguration:  request.PluginData,
	}, &answer)
	return map[string]any{"valid": answer.Valid, "notes": answer.Notes}, err
}

// composeClaims hands claims over as SPIRE does, through JSON, and takes back what the token is to say.
func (h *host) composeClaims(id string, claims map[string]any) (map[string]any, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	attributes := &composerpb.JWTSVIDAttributes{Claims: &structpb.Struct{}}
	if err := attributes.Claims.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	var answer composerpb.ComposeWorkloadJWTSVIDResponse
	request := &composerpb.ComposeWorkloadJWTSVIDRequest{SpiffeId: id, Attributes: attributes}
	if err := h.conn.Invoke(context.Background(), composer+"ComposeWorkloadJWTSVID", request, &answer); err != nil {
		return nil, err
	}
	if answer.Attributes == nil {
		return claims, nil
	}
	return answer.Attributes.Claims.AsMap(), nil
}

// composeX509 returns the attributes that the certificate is to have.
func (h *host) composeX509(id string, attributes *composerpb.X509SVIDAttributes, publicKey []byte) (*composerpb.X509SVIDAttributes, error) {
	var answer composerpb.ComposeWorkloadX509SVIDResponse
	request := &composerpb.ComposeWorkloadX509SVIDRequest{SpiffeId: id, Attributes: attributes, PublicKey: publicKey}
	if err := h.conn.Invoke(context.Background(), composer+"ComposeWorkloadX509SVID", request, &answer); err != nil {
		return nil, err
	}
	if answer.Attributes == nil {
		return attributes, nil
	}
	if answer.Attributes.Subject == nil {
		return nil, errors.New("subject: cannot be empty")
	}
	return answer.Attributes, nil
}

// defaults says for which kinds of certificates that are no workload's the plugin changed anything.
func (h *host) defaults(request Request) (any, error) {
	attributes := &composerpb.X509SVIDAttributes{Subject: &composerpb.DistinguishedName{Organization: []string{"SPIRE"}}}
	calls := []struct {
		method  string
		request proto.Message
		answer  interface {
			proto.Message
			GetAttributes() *composerpb.X509SVIDAttributes
		}
	}{
		{"ComposeServerX509SVID", &composerpb.ComposeServerX509SVIDRequest{Attributes: attributes}, &composerpb.ComposeServerX509SVIDResponse{}},
		{"ComposeAgentX509SVID", &composerpb.ComposeAgentX509SVIDRequest{Attributes: attributes, SpiffeId: request.SpiffeID}, &composerpb.ComposeAgentX509SVIDResponse{}},
	}
	changed := []string{}
	for _, call := range calls {
		if err := h.conn.Invoke(context.Background(), composer+call.method, call.request, call.answer); err != nil {
			return nil, err
		}
		if call.answer.GetAttributes() != nil {
			changed = append(changed, call.method)
		}
	}
	var answer composerpb.ComposeServerX509CAResponse
	err := h.conn.Invoke(context.Background(), composer+"ComposeServerX509CA", &composerpb.ComposeServerX509CARequest{Attributes: &composerpb.X509CAAttributes{}}, &answer)
	if answer.Attributes != nil {
		changed = append(changed, "ComposeServerX509CA")
	}
	return changed, err
}

// call sends so many bytes that are text to a method that may not be there.
func (h *host) call(request Request) error {
	message := &configpb.ConfigureRequest{HclConfiguration: strings.Repeat("x", request.Bytes)}
	return h.conn.Invoke(context.Background(), request.Method, message, &configpb.ConfigureResponse{})
}

// many composes Count tokens, 64 at once.
func (h *host) many(request Request) (any, error) {
	began := time.Now()
	next := make(chan int)
	refused := make(chan error, request.Count)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for range next {
				if _, err := h.composeClaims(request.SpiffeID, request.Claims); err != nil {
					refused <- err
				}
			}
		})
	}
	for at := range request.Count {
		next <- at
	}
	close(next)
	workers.Wait()
	close(refused)
	return map[string]any{"ms": time.Since(began).Milliseconds(), "refused": len(refused)}, <-refused
}

// printPluginData makes of a server's configuration the text that SPIRE hands to the plugin.
func printPluginData(text string) (any, error) {
	var server struct {
		Plugins map[string]map[string]struct {
			PluginData ast.Node `hcl:"plugin_data"`
		} `hcl:"plugins"`
	}
	if err := hcl.Decode(&server, text); err != nil {
		return nil, err
	}
	var printed bytes.Buffer
	err := printer.DefaultConfig.Fprint(&printed, server.Plugins[kind][name].PluginData)
	return printed.String(), err
}
