package main

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"net"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const served = "spiffe://" + domainName + "/workload"

// api serves one identity with the gRPC library and the generated code that SPIRE's agent uses.
type api struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	x509    *workload.X509SVIDResponse
	bundles *workload.JWTBundlesResponse
	bundle  *jwtbundle.Bundle
	signer  jose.Signer
}

// serve starts a Workload API on a socket and answers at once; it lives as long as this program.
func serve(socket string) (any, error) {
	root := newAuthority(nil, nil)
	key := newKey(elliptic.P256())
	jwtKey := newKey(elliptic.P256())
	bundle := jwtbundle.New(spiffeid.RequireTrustDomainFromString(domainName))
	if err := bundle.AddJWTAuthority("key", jwtKey.Public()); err != nil {
		return nil, err
	}
	document, err := bundle.Marshal()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	domainID := "spiffe://" + domainName
	other := newAuthority(nil, nil)
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, &api{
		x509: &workload.X509SVIDResponse{
			Svids: []*workload.X509SVID{{
				SpiffeId:    served,
				X509Svid:    root.leaf(key.Public(), nil),
				X509SvidKey: must(x509.MarshalPKCS8PrivateKey(key)),
				Bundle:      root.certificate.Raw,
			}},
			FederatedBundles: map[string][]byte{"spiffe://other.test": other.certificate.Raw},
		},
		bundles: &workload.JWTBundlesResponse{Bundles: map[string][]byte{domainID: document}},
		bundle:  bundle,
		signer:  must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: jwtKey, KeyID: "key"}}, nil)),
	})
	go server.Serve(listener)
	return map[string]string{"id": served}, nil
}

func (a *api) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	if err := requireHeader(stream.Context()); err != nil {
		return err
	}
	if err := stream.Send(a.x509); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (a *api) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream workload.SpiffeWorkloadAPI_FetchJWTBundlesServer) error {
	if err := requireHeader(stream.Context()); err != nil {
		return err
	}
	if err := stream.Send(a.bundles); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (a *api) FetchJWTSVID(ctx context.Context, request *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if err := requireHeader(ctx); err != nil {
		return nil, err
	}
	token, err := jwt.Signed(a.signer).Claims(map[string]any{
		"sub": served, "aud": request.Audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}).Serialize()
	if err != nil {
		return nil, err
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: served, Svid: token}}}, nil
}

func (a *api) ValidateJWTSVID(ctx context.Context, request *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	if err := requireHeader(ctx); err != nil {
		return nil, err
	}
	svid, err := jwtsvid.ParseAndValidate(request.Svid, a.bundle, []string{request.Audience})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: svid.ID.String()}, nil
}

func requireHeader(ctx context.Context) error {
	headers, _ := metadata.FromIncomingContext(ctx)
	if values := headers.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	return nil
}
