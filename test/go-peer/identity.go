package main

import (
	"context"
	"crypto/rand"

	"github.com/flynn/noise"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// Identity is what this process is: an SVID and bundles from a Workload API, and a Noise static key of its own.
type Identity struct {
	*workloadapi.X509Source
	client *workloadapi.Client
	static noise.DHKey
}

func openIdentity(ctx context.Context, socket string) (*Identity, error) {
	client, err := workloadapi.New(ctx, workloadapi.WithAddr("unix://"+socket))
	if err != nil {
		return nil, err
	}
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Identity{X509Source: source, client: client, static: must(suite.GenerateKeypair(rand.Reader))}, nil
}

// token asks for a SAT: a JWT-SVID of the same SPIFFE ID as the chain, for exactly this audience.
func (i *Identity) token(ctx context.Context, audience string) (string, error) {
	svid, err := i.GetX509SVID()
	if err != nil {
		return "", err
	}
	token, err := i.client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: svid.ID})
	if err != nil {
		return "", err
	}
	return token.Marshal(), nil
}

// checkToken judges the other side's SAT, §3.5.
func (i *Identity) checkToken(ctx context.Context, token, subject string, audiences []string) error {
	bundles, err := i.client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	for _, audience := range audiences {
		svid, err := jwtsvid.ParseAndValidate(token, bundles, []string{audience})
		if err == nil && len(svid.Audience) == 1 && svid.ID.String() == subject {
			return nil
		}
	}
	return refuse(NotAuthenticated, "the SAT is for none of %v, or of another than %s", audiences, subject)
}

func (i *Identity) Close() {
	i.X509Source.Close()
	i.client.Close()
}
