/** The moving picture of a camera: asks for the next picture when it has painted the last. */
import type { FrameInfo } from '../../api/schemas.js';

export interface LiveHandlers {
  readonly onFrame: (frame: FrameInfo, picture: ImageBitmap) => void;
  /** false: nothing comes at the moment. */
  readonly onOpen: (isOpen: boolean) => void;
}

const RETRY_MS = 1_000;

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
    opened.onmessage = async ({ data }: MessageEvent<ArrayBuffer>) => {
      const length = new DataView(data).getUint32(0);
      const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as FrameInfo;
      const picture = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: 'image/jpeg' }));
      onFrame(frame, picture);
      picture.close();
      // When the screen has shown it: a slow machine asks less often.
      requestAnimationFrame(() => {
        if (opened.readyState === WebSocket.OPEN) opened.send('next');
      });
    };
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
