/** What the machine does: two boots, with a suspend and a reset between them. */
import { release } from 'node:os';
import { countBoot } from './disk.ts';
import { part } from './part.ts';
import { afterReboot, reset } from './reboot.ts';
import { flush, send } from './send.ts';
import { suites } from './suites.ts';
import { suspend } from './suspend.ts';
import { throughput } from './throughput.ts';

const boots = countBoot();
send({ kind: 'boot', kernel: release(), boots });
if (boots === 1) {
  await part('suites', suites);
  await part('throughput', throughput);
  await part('suspend', suspend);
  flush();
  reset();
} else {
  await part('reboot', afterReboot);
  send({ kind: 'done' });
}
