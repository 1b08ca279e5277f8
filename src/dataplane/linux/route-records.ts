/** Routes as the addon takes and gives them: 48 bytes each, layout in native/kernel/src/netlink/routes.rs. */
import type { Route } from '../ports.ts';
import { metricOf } from '../route-rules.ts';

const RECORD_LENGTH = 48;
const AT = { family: 0, length: 1, hasGateway: 2, ifindex: 4, table: 8, metric: 12, destination: 16, gateway: 32 };

/** The routes must have passed `checkRoute`. */
export function packRoutes(routes: readonly Route[]): Uint8Array {
  const packed = new Uint8Array(routes.length * RECORD_LENGTH);
  const view = new DataView(packed.buffer);
  let at = 0;
  for (const route of routes) {
    const { destination, gateway } = route;
    view.setUint8(at + AT.family, destination.address.length === 4 ? 4 : 6);
    view.setUint8(at + AT.length, destination.length);
    view.setUint32(at + AT.ifindex, route.ifindex, true);
    view.setUint32(at + AT.table, route.table, true);
    view.setUint32(at + AT.metric, metricOf(route) ?? 0, true);
    packed.set(destination.address, at + AT.destination);
    if (gateway !== undefined) {
      view.setUint8(at + AT.hasGateway, 1);
      packed.set(gateway, at + AT.gateway);
    }
    at += RECORD_LENGTH;
  }
  return packed;
}

export function unpackRoutes(packed: Uint8Array): Route[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const routes: Route[] = [];
  for (let at = 0; at + RECORD_LENGTH <= packed.length; at += RECORD_LENGTH) {
    const size = view.getUint8(at + AT.family) === 4 ? 4 : 16;
    const bytes = (offset: number): Uint8Array => packed.slice(at + offset, at + offset + size);
    const metric = view.getUint32(at + AT.metric, true);
    routes.push({
      destination: { address: bytes(AT.destination), length: view.getUint8(at + AT.length) },
      ifindex: view.getUint32(at + AT.ifindex, true),
      table: view.getUint32(at + AT.table, true),
      ...(view.getUint8(at + AT.hasGateway) === 1 ? { gateway: bytes(AT.gateway) } : {}),
      ...(metric === 0 ? {} : { metric }),
    });
  }
  return routes;
}
