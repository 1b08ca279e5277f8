/**
 * An OCI archive of one layer (image-spec 1.1: image-layout, manifest, config), as `podman load` and `skopeo` take it:
 *
 *   node deploy/image/archive.ts LAYER.tar EPOCH USER OUT.tar
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const [layerFile = '', epoch = '', user = '', out = ''] = process.argv.slice(2);
const { version, description, license } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);
const layout = mkdtempSync(join(tmpdir(), 'shs-oci-'));
try {
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const layer = readFileSync(layerFile);
  const created = new Date(Number(epoch) * 1_000).toISOString();
  const config = blob('application/vnd.oci.image.config.v1+json', {
    created,
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: {
      User: user,
      Entrypoint: ['/usr/bin/node', '/usr/bin/shellstream'],
      Cmd: ['--help'],
      Env: ['PATH=/usr/bin', 'NODE_ENV=production'],
      Labels: {
        'org.opencontainers.image.title': 'shellstream',
        'org.opencontainers.image.description': description,
        'org.opencontainers.image.version': version,
        'org.opencontainers.image.licenses': license,
      },
    },
    rootfs: { type: 'layers', diff_ids: [digest(layer)] },
    history: [{ created, created_by: 'deploy/image/build.sh' }],
  });
  const manifest = blob('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: [blob('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(layer, { level: 9 }))],
  });
  const name = { 'org.opencontainers.image.ref.name': `localhost/shellstream:${version}` };
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations: name }] };
  writeFileSync(join(layout, 'index.json'), JSON.stringify(index));
  const packed = spawnSync('tar', [
    ...['-c', '--sort=name', `--mtime=@${epoch}`, '--owner=0', '--group=0', '--numeric-owner'],
    ...['-C', layout, '-f', out, '.'],
  ]);
  if (packed.status !== 0) throw new Error(`tar: ${packed.stderr}`);
} finally {
  rmSync(layout, { recursive: true });
}

function blob(mediaType: string, content: object | Uint8Array): Descriptor {
  const bytes = content instanceof Uint8Array ? content : Buffer.from(JSON.stringify(content));
  const folder = join(layout, 'blobs', 'sha256');
  mkdirSync(folder, { recursive: true });
  const id = digest(bytes);
  writeFileSync(join(folder, id.slice('sha256:'.length)), bytes);
  return { mediaType, digest: id, size: bytes.length };
}

function digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
