// A device in a process of its own, to be killed. Arguments: broker URL, protocol version, device name.
import { connectBus } from '#sdk/bus/index.js';

const [url, version, device] = process.argv.slice(2);
await connectBus({ url, device, protocolVersion: Number(version), willDelaySeconds: 0 });
process.stdout.write('online\n');
