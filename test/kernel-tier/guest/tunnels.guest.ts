import { kernelWireguard } from '../../dataplane/kernel-wireguard.ts';

kernelWireguard();
