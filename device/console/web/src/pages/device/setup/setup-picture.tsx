import { useEffect, useState } from 'preact/hooks';
import type { DeviceState } from '../../../../../api/schemas.js';
import { get, picture } from '../../../api.js';

const REFRESH_MS = 2_000;

/** The newest picture of each camera, as proof. */
export function SetupPicture() {
  const [cameras, setCameras] = useState<DeviceState['cameras']>([]);
  useEffect(() => {
    const look = (): void => {
      if (document.hidden) return;
      get<DeviceState>('/api/state').then(
        (state) => setCameras(state.cameras),
        () => {},
      );
    };
    look();
    const timer = setInterval(look, REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <div class="thumbnails">
      {cameras
        .filter(({ image, isPrivate }) => image !== null && !isPrivate)
        .map((camera) => (
          <Thumbnail key={camera.id} camera={camera} />
        ))}
    </div>
  );
}

function Thumbnail({ camera: { id, image } }: { readonly camera: DeviceState['cameras'][number] }) {
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    const abort = new AbortController();
    let shown: string | undefined;
    const look = async (): Promise<void> => {
      const bytes = await picture(id, abort.signal).catch(() => undefined);
      if (bytes === undefined || abort.signal.aborted) return;
      const next = URL.createObjectURL(bytes);
      if (shown !== undefined) URL.revokeObjectURL(shown);
      shown = next;
      setAddress(next);
    };
    void look();
    const timer = setInterval(() => void look(), REFRESH_MS);
    return () => {
      abort.abort();
      clearInterval(timer);
      if (shown !== undefined) URL.revokeObjectURL(shown);
    };
  }, [id]);
  return (
    <figure>
      <div class="picture" style={{ aspectRatio: `${image!.width} / ${image!.height}` }}>
        {address && <img src={address} alt={`The newest picture of camera ${id}`} />}
      </div>
      <figcaption>{id}</figcaption>
    </figure>
  );
}
