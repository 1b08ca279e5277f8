/** Says which links it sees and what runs it, then waits to be ended. */

import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';

console.log(`links ${Object.keys(networkInterfaces()).join(' ')} ${process.version}`);
createServer().listen(0, '127.0.0.1');
