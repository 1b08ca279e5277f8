/** What a session stands on, as far as revocation can take it away. */
export interface Credentials {
  /** Of the SAT that the peer presented; an initiator's peer presents none. */
  readonly tokenId?: string;
  /** Milliseconds of wall time: the older of SVID and SAT. */
  readonly issuedAtMs: number;
}
