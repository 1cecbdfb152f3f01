import { useEffect, useState } from 'preact/hooks';
import { get } from '../../../api.js';
import type { DeviceState } from '../../../../../api/schemas.js';

const REFRESH_MS = 2_000;

/** The newest picture of each camera, as proof. */
export function SetupPicture() {
  const [cameras, setCameras] = useState<DeviceState['cameras']>([]);
  const [round, setRound] = useState(0);
  useEffect(() => {
    const look = (): void => {
      if (document.hidden) return;
      setRound((known) => known + 1);
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
        .map(({ id, image }) => (
          <figure key={id}>
            <div class="picture" style={{ aspectRatio: `${image!.width} / ${image!.height}` }}>
              <img
                src={`/api/cameras/${encodeURIComponent(id)}/snapshot?at=${round}`}
                alt={`The newest picture of camera ${id}`}
              />
            </div>
            <figcaption>{id}</figcaption>
          </figure>
        ))}
    </div>
  );
}
