/** The URL of a gateway's WebSocket. */
export function gatewayUrl({ host, port }: { readonly host: string; readonly port: number }): string {
  return `ws://${host.includes(':') ? `[${host}]` : host}:${port}/`;
}
