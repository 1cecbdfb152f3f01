/** The moving picture of a camera: asks for pictures as fast as it paints them. */
import type { FrameInfo } from '../../api/schemas.js';

export interface LiveHandlers {
  readonly onFrame: (frame: FrameInfo, picture: ImageBitmap) => void;
  /** false: nothing comes at the moment. */
  readonly onOpen: (isOpen: boolean) => void;
}

const RETRY_MS = 1_000;
/** Pictures that a page asks for ahead while it keeps up; one that does not asks for each. */
const AHEAD = 4;

/** Closed while the page is hidden: nobody looks, so nothing is encoded. Returns what ends it. */
export function watchCamera(camera: string, { onFrame, onOpen }: LiveHandlers): () => void {
  let socket: WebSocket | undefined;
  let retry = 0;
  let isEnded = false;

  const open = (): void => {
    if (isEnded || document.hidden || socket !== undefined) return;
    const address = new URL(`/api/cameras/${encodeURIComponent(camera)}/live`, location.href);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const opened = new WebSocket(address);
    opened.binaryType = 'arraybuffer';
    opened.onopen = () => onOpen(true);
    opened.onmessage = paintNewest(opened, onFrame);
    opened.onclose = () => {
      if (socket === opened) socket = undefined;
      onOpen(false);
      if (!isEnded && !document.hidden) retry = window.setTimeout(open, RETRY_MS);
    };
    socket = opened;
  };
  const close = (): void => {
    clearTimeout(retry);
    const closing = socket;
    socket = undefined;
    closing?.close();
  };
  const look = (): void => (document.hidden ? close() : open());
  document.addEventListener('visibilitychange', look);
  open();
  return () => {
    isEnded = true;
    document.removeEventListener('visibilitychange', look);
    close();
  };
}

/** What comes while another picture is painted replaces what waits: a page that is slow shows fewer, not older ones. */
function paintNewest(
  socket: WebSocket,
  onFrame: LiveHandlers['onFrame'],
): (message: MessageEvent<ArrayBuffer>) => void {
  // The first one comes unasked.
  let onTheirWay = 1;
  let waiting: ArrayBuffer | undefined;
  let isPainting = false;
  const paint = async (data: ArrayBuffer): Promise<void> => {
    const length = new DataView(data).getUint32(0);
    const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as FrameInfo;
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: 'image/jpeg' }));
    onFrame(frame, picture);
    picture.close();
    await new Promise(requestAnimationFrame);
  };
  const run = async (): Promise<void> => {
    isPainting = true;
    try {
      while (waiting !== undefined) {
        const data = waiting;
        waiting = undefined;
        await paint(data);
        const wanted = (waiting === undefined ? AHEAD : 1) - onTheirWay;
        if (wanted < 1 || onTheirWay > AHEAD / 2 || socket.readyState !== WebSocket.OPEN) continue;
        onTheirWay += wanted;
        socket.send(`next ${wanted}`);
      }
    } finally {
      isPainting = false;
    }
  };
  return ({ data }) => {
    onTheirWay -= 1;
    waiting = data;
    if (!isPainting) void run();
  };
}
