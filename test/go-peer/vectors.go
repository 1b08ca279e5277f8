package main

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Hex is bytes as the vectors write them.
type Hex []byte

func (h *Hex) UnmarshalJSON(text []byte) error {
	var digits string
	if err := json.Unmarshal(text, &digits); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(digits)
	*h = decoded
	return err
}

// Inputs, Party and Mesh are the files as their README describes them.
type Inputs struct {
	VerifyAt   time.Time `json:"verifyAt"`
	Nonces     []Hex     `json:"nonces"`
	Initiator  Party     `json:"initiator"`
	Responder  Party     `json:"responder"`
	AccordHash Hex       `json:"accordHash"`
	Sat        struct {
		KeyID     string             `json:"keyId"`
		JwtBundle jose.JSONWebKeySet `json:"jwtBundle"`
	} `json:"sat"`
}

type Party struct {
	SpiffeID    string `json:"spiffeId"`
	TrustDomain struct {
		Name            string `json:"name"`
		X509Authorities []Hex  `json:"x509Authorities"`
	} `json:"trustDomain"`
	Svid struct {
		Chain []Hex `json:"chain"`
	} `json:"svid"`
	Noise struct {
		StaticPrivate     Hex   `json:"staticPrivate"`
		EphemeralPrivates []Hex `json:"ephemeralPrivates"`
	} `json:"noise"`
	Wireguard struct {
		Private Hex `json:"private"`
	} `json:"wireguard"`
	Secrets      []Hex  `json:"secrets"`
	PostureEpoch uint64 `json:"postureEpoch,string"`
}

type EvidenceVector struct {
	SignedMessage Hex `json:"signedMessage"`
	Signature     Hex `json:"signature"`
	Body          Hex `json:"body"`
}

type OfferVector struct {
	Shared Hex `json:"shared"`
	Proof  Hex `json:"proof"`
}

type Mesh struct {
	Attestations []struct {
		Prologue Hex `json:"prologue"`
		Init     struct {
			Record  Hex `json:"record"`
			Payload Hex `json:"payload"`
			H1      Hex `json:"h1"`
		} `json:"init"`
		Verify struct {
			Record   Hex            `json:"record"`
			Evidence EvidenceVector `json:"evidence"`
			H2       Hex            `json:"h2"`
		} `json:"verify"`
		Sat struct {
			Audience      string `json:"audience"`
			BoundAudience string `json:"boundAudience"`
			Token         string `json:"token"`
		} `json:"sat"`
		Confirm struct {
			Record   Hex            `json:"record"`
			Evidence EvidenceVector `json:"evidence"`
			H3       Hex            `json:"h3"`
		} `json:"confirm"`
		Wireguard struct {
			Initiator OfferVector `json:"initiator"`
			Responder OfferVector `json:"responder"`
		} `json:"wireguard"`
		Secrets struct {
			PresharedKey Hex `json:"presharedKey"`
			SessionID    Hex `json:"sessionId"`
			Reattest     Hex `json:"reattest"`
		} `json:"secrets"`
		TransportKeys struct {
			InitiatorToResponder Hex `json:"initiatorToResponder"`
			ResponderToInitiator Hex `json:"responderToInitiator"`
		} `json:"transportKeys"`
	} `json:"attestations"`
	Frames []struct {
		From      string `json:"from"`
		Frame     string `json:"frame"`
		Keys      int    `json:"keys"`
		Counter   uint64 `json:"counter"`
		Plaintext Hex    `json:"plaintext"`
		Record    Hex    `json:"record"`
	} `json:"frames"`
}
