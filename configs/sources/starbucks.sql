-- Starbucks rewards "capstone" data, 30 days of 8,500 persons, simulated by its publisher, offers drawn at random.
-- `raw` holds transcript, profile and portfolio as Parquet. The log counts hours; the day after the last person
-- became a member is taken for its first, so that each of the six waves opens a day. Gender and age are for the audit.

CREATE VIEW offers AS
SELECT id, reward, difficulty, duration, array_to_string(channels, '+') AS channel,
       offer_type || CASE WHEN difficulty > 0 THEN '_' || difficulty || '_' || reward ELSE '' END || '_' || duration || 'd' AS offer_id
FROM read_parquet(getvariable('raw') || '/portfolio.parquet');

-- one purchase can complete two live copies of an offer, which gives two equal rows: `copy` tells them apart
CREATE VIEW log AS
SELECT t.*, o.offer_id AS offer,
       row_number() OVER (PARTITION BY person, event, time, t.offer_id) AS copy,
       TIMESTAMP '2018-07-27' + to_hours(time) AS happened_at
FROM read_parquet(getvariable('raw') || '/transcript.parquet') AS t
LEFT JOIN offers AS o ON o.id = t.offer_id;

CREATE VIEW received AS
SELECT person, offer, time AS received, time + 24 * duration AS closed, 'wave-' || time || '-' || person AS decision_id,
       row_number() OVER (PARTITION BY person, offer ORDER BY time) AS place
FROM log JOIN offers ON offers.offer_id = offer
WHERE event = 'offer received';

-- An offer lives to the end of its last hour, and is completed once: the oldest copy that lives and is not yet used.
CREATE VIEW completed AS
WITH alive AS (
    SELECT c.person, c.offer, c.time, c.copy, min(r.place) AS oldest
    FROM log AS c
    LEFT JOIN received AS r ON r.person = c.person AND r.offer = c.offer AND c.time BETWEEN r.received AND r.closed
    WHERE c.event = 'offer completed'
    GROUP BY ALL
),
numbered AS (
    SELECT *, row_number() OVER (PARTITION BY person, offer ORDER BY time, copy) AS number FROM alive
),
used AS (
    SELECT *, number + max(oldest - number) OVER (PARTITION BY person, offer ORDER BY number) AS place FROM numbered
)
SELECT person, offer, time, copy, decision_id FROM used LEFT JOIN received USING (person, offer, place);

CREATE VIEW rewards AS
SELECT person, time, sum(reward) AS reward FROM log WHERE event = 'offer completed' GROUP BY ALL;

-- Purchases are paid in full and the reward comes on top, as a credit: that is the refund of this app.
CREATE VIEW events AS
SELECT 'purchase-' || time || '-' || person AS event_id, person AS user_id, 'purchase' AS event_name,
       happened_at AT TIME ZONE 'UTC' AS occurred_at, amount, coalesce(r.reward, 0) AS discount,
       NULL AS channel, NULL AS offer_id, NULL AS decision_id
FROM log LEFT JOIN rewards AS r USING (person, time)
WHERE event = 'transaction'
UNION ALL
SELECT 'redeem-' || time || '-' || person || '-' || offer || '-' || copy, person, 'offer_redeem',
       happened_at AT TIME ZONE 'UTC', b.amount, log.reward, NULL, offer, decision_id
FROM log LEFT JOIN completed USING (person, offer, time, copy)
LEFT JOIN (SELECT person, time, amount FROM log WHERE event = 'transaction') AS b USING (person, time)
WHERE event = 'offer completed'
UNION ALL
SELECT 'credit-' || time || '-' || person || '-' || offer || '-' || copy, person, 'reward_credit',
       happened_at AT TIME ZONE 'UTC', -reward, NULL, NULL, offer, NULL
FROM log
WHERE event = 'offer completed'
UNION ALL
SELECT CASE event WHEN 'offer viewed' THEN 'view-' ELSE 'receive-' END || time || '-' || person || '-' || offer || '-' || copy, person,
       CASE event WHEN 'offer viewed' THEN 'offer_view' ELSE 'notification_receive' END,
       happened_at AT TIME ZONE 'UTC', NULL, NULL, o.channel, offer, NULL
FROM log JOIN offers AS o ON o.offer_id = offer
WHERE event IN ('offer viewed', 'offer received');

CREATE VIEW users AS
SELECT id AS user_id,
       strptime(became_member_on::VARCHAR, '%Y%m%d') AT TIME ZONE 'UTC' AS signed_up_at,
       signed_up_at AS known_from,
       CASE WHEN age < 118 THEN 2018 - age END AS birth_year,  -- 118 stands for missing
       gender, income, income IS NOT NULL AS has_profile
FROM read_parquet(getvariable('raw') || '/profile.parquet');

-- What a draw brought: spend of the next 72 hours, at most 100 dollars (a few purchases of up to 1,000 would drown all
-- others), less the rewards paid in them.
CREATE VIEW outcomes AS
SELECT person, w.time, least(coalesce(sum(amount) FILTER (event = 'transaction'), 0), 100)
       - coalesce(sum(reward) FILTER (event = 'offer completed'), 0) AS outcome
FROM log JOIN (SELECT DISTINCT received AS time FROM received) AS w ON log.time >= w.time AND log.time < w.time + 72
GROUP BY ALL;

-- In each wave a person draws nothing with probability 1/4, else one of the ten offers, all equally likely. The waves
-- from hour 504 on are kept out of every training.
CREATE VIEW treatments AS
SELECT p.id AS user_id,
       (TIMESTAMP '2018-07-27' + to_hours(w.time)) AT TIME ZONE 'UTC' AS decided_at,
       coalesce(o.offer_id, 'none') AS offer_id,
       CASE WHEN o.difficulty > 0 THEN round(o.reward / o.difficulty, 2) ELSE 0 END AS discount,
       coalesce(o.channel, 'none') AS channel,
       CASE WHEN o.offer_id IS NULL THEN 0.25 ELSE 0.075 END AS propensity,
       0 AS cost,
       'wave-' || w.time || '-' || p.id AS decision_id,
       (TIMESTAMP '2018-07-27' + to_hours(r.closed + 1)) AT TIME ZONE 'UTC' AS valid_until,
       coalesce(outcomes.outcome, 0) AS outcome,
       (TIMESTAMP '2018-07-27' + to_hours(w.time + 72)) AT TIME ZONE 'UTC' AS outcome_at,
       w.time >= 504 AS is_holdout
FROM read_parquet(getvariable('raw') || '/profile.parquet') AS p
CROSS JOIN (SELECT DISTINCT received AS time FROM received) AS w
LEFT JOIN received AS r ON r.person = p.id AND r.received = w.time
LEFT JOIN offers AS o ON o.offer_id = r.offer
LEFT JOIN outcomes ON outcomes.person = p.id AND outcomes.time = w.time;
