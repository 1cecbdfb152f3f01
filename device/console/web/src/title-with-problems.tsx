import type { DeviceState } from '../../api/schemas.js';

export interface TitleWithProblemsProps {
  readonly title: string;
  readonly problems: DeviceState['problems'];
}

/**
 * Beside the title, where there is room before there is a problem: one that comes while somebody reads moves nothing of
 * what they read. What to do about it unfolds below.
 */
export function TitleWithProblems({ title, problems }: TitleWithProblemsProps) {
  const [first, ...others] = problems;
  return (
    <div class="titled">
      <h1>{title}</h1>
      <div class="problems" role="status">
        {first !== undefined && (
          <details>
            <summary class="failure">
              {others.length > 0 && `${problems.length} problems: `}
              {first.reason}
            </summary>
            {problems.map(({ part, code, message, reason, remedy }) => (
              <div key={part} class="card problem">
                <p class="failure">
                  {part}: {reason} <small>({code})</small>
                </p>
                <p>{remedy}</p>
                <p class="hint">{message}</p>
              </div>
            ))}
          </details>
        )}
      </div>
    </div>
  );
}
