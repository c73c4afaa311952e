CREATE OR REPLACE FUNCTION scalekit_ratelimit_hit_v1(
  requests integer[], keys text[], windows boolean[], units bigint[], totals bigint[], costs bigint[],
  dry_runs boolean[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
-- Counts the hits of each request on all of its limits, or on none when one of them refuses, as combined_limits.lua does.
-- An element for each hit: number of its request, in order; key of the limit; whether it is a sliding window; emission
-- interval or quota; tolerance or window; cost; dry run. Returns four numbers for each hit: allowed, remaining,
-- microseconds until the full quota is available, and microseconds until a retry.
DECLARE
  hits CONSTANT integer := cardinality(keys);
  states bigint[] := array_fill(CAST(0 AS bigint), ARRAY[4 * hits]);
  afters bigint[] := array_fill(CAST(0 AS bigint), ARRAY[hits]);
  clock bigint;
  start integer := 1;
  stop integer;
  place integer;
  is_refused boolean;
  arrival bigint;
  slack bigint;
  past bigint[];
BEGIN
  -- Creates missing rows, and locks all of them in one order, so that no two statements wait for each other.
  INSERT INTO scalekit_ratelimit AS counter (key, expires)
    SELECT DISTINCT each, 0 FROM unnest(keys) AS each ORDER BY each
    ON CONFLICT (key) DO UPDATE SET expires = counter.expires WHERE false;
  clock := CAST(floor(extract(epoch FROM clock_timestamp()) * 1000000) AS bigint);
  WHILE start <= hits LOOP
    stop := start;
    is_refused := false;
    WHILE stop <= hits AND requests[stop] = requests[start] LOOP
      place := 4 * stop - 3;
      -- No counter is valid beyond the clock and the tolerance, or has hits in the future, unless the clock went back.
      SELECT least(greatest(expires, clock), clock + totals[stop]), times INTO arrival, past
        FROM scalekit_ratelimit WHERE key = keys[stop];
      IF windows[stop] THEN
        past := ARRAY(SELECT each FROM unnest(past) AS each
          WHERE each > clock - totals[stop] AND each <= clock ORDER BY each);
        slack := units[stop] - cardinality(past) - costs[stop];
        IF slack < 0 THEN
          states[place + 1] := units[stop] - cardinality(past);
          states[place + 2] := past[cardinality(past)] + totals[stop] - clock;
          states[place + 3] := past[-slack] + totals[stop] - clock;
        ELSE
          states[place + 1] := slack;
          states[place + 2] := totals[stop];
        END IF;
      ELSE
        afters[stop] := arrival + costs[stop] * units[stop];
        slack := clock + totals[stop] - afters[stop];
        IF slack < 0 THEN
          states[place + 1] := greatest(0, (totals[stop] - arrival + clock) / units[stop]);
          states[place + 2] := arrival - clock;
          states[place + 3] := -slack;
        ELSE
          states[place + 1] := slack / units[stop];
          states[place + 2] := afters[stop] - clock;
        END IF;
      END IF;
      IF slack >= 0 THEN
        states[place] := 1;
      ELSIF NOT dry_runs[stop] THEN
        is_refused := true;
      END IF;
      stop := stop + 1;
    END LOOP;
    WHILE start < stop LOOP
      place := 4 * start - 3;
      IF states[place] = 0 THEN
        NULL;
      ELSIF is_refused THEN
        states[place + 1] := states[place + 1] + costs[start];
        IF NOT windows[start] THEN
          states[place + 2] := greatest(0, states[place + 2] - costs[start] * units[start]);
        END IF;
      ELSIF costs[start] = 0 THEN
        NULL;
      ELSIF windows[start] THEN
        UPDATE scalekit_ratelimit SET expires = clock + totals[start], times = array_cat(
          ARRAY(SELECT each FROM unnest(times) AS each
            WHERE each > clock - totals[start] AND each <= clock ORDER BY each),
          array_fill(clock, ARRAY[CAST(costs[start] AS integer)])) WHERE key = keys[start];
      ELSE
        UPDATE scalekit_ratelimit SET expires = afters[start] WHERE key = keys[start];
      END IF;
      start := start + 1;
    END LOOP;
  END LOOP;
  RETURN states;
END $$
