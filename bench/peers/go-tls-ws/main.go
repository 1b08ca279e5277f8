// A peer: net/http with mutual TLS 1.3 and a WebSocket on it. Echoes messages of clients whose certificate names them.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/coder/websocket"
)

func main() {
	directory, clientID := os.Args[1], os.Args[2]
	certificate, err := tls.LoadX509KeyPair(filepath.Join(directory, "server.pem"), filepath.Join(directory, "server.key"))
	if err != nil {
		log.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(directory, "ca.pem"))
	if err != nil {
		log.Fatal(err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(bundle) {
		log.Fatal("no certificate in ca.pem")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { echo(w, r, clientID) }),
		TLSConfig: &tls.Config{
			Certificates:           []tls.Certificate{certificate},
			ClientAuth:             tls.RequireAndVerifyClientCert,
			ClientCAs:              authorities,
			MinVersion:             tls.VersionTLS13,
			CurvePreferences:       []tls.CurveID{tls.X25519},
			SessionTicketsDisabled: true,
			NextProtos:             []string{"http/1.1"},
		},
		// The proof that a client without a certificate is refused is no news.
		ErrorLog: log.New(os.Stderr, "", 0),
	}
	log.Fatal(server.ServeTLS(listener, "", ""))
}

func echo(w http.ResponseWriter, r *http.Request, clientID string) {
	leaf := r.TLS.PeerCertificates[0]
	if r.TLS.DidResume || len(leaf.URIs) != 1 || leaf.URIs[0].String() != clientID {
		http.Error(w, "another client", http.StatusForbidden)
		return
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	defer socket.CloseNow()
	for {
		kind, message, err := socket.Read(r.Context())
		if err != nil {
			return
		}
		if err := socket.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
