// Opens a camera, tells the pid of its host, and stays until it is killed.
import { openCamera } from '../../../dist/sdk/capture/index.js';

const camera = await openCamera('test:checker');
await camera.read();
process.send(camera.hostPid);
