/** Connects to 127.0.0.1 at the port given, prints what comes, and at last how it ended: `ended` or `broken CODE`. */
import { connect } from 'node:net';

const socket = connect(Number(process.argv[2]), '127.0.0.1');
socket.setEncoding('utf8');
socket.on('data', (text) => process.stdout.write(text));
socket.on('end', () => console.log('ended'));
socket.on('error', (error) => console.log(`broken ${'code' in error ? error.code : error.message}`));
