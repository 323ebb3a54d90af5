-- A mail experiment of 64,000 customers, in the shape of Hillstrom's (MineThatData, 2008): one row per customer, what
-- was known before, one of three mailings at random, what was bought in the two weeks after. It has no events and needs
-- none. The rows are drawn here by hashes, so that there is a truth: the view `customers` stands for your file.
--
--     CREATE VIEW customers AS SELECT * FROM read_csv(getvariable('raw') || '/experiment.csv');
--
-- The truth: the men's mailing sells to who bought men's goods within half a year, the women's to who bought women's
-- goods for over 150 dollars, both at half strength to newcomers; nobody else buys more by any mailing.

CREATE MACRO chance(customer, what) AS
    ('0x' || substr(md5(customer || ':' || what), 1, 8))::BIGINT / 4294967296.0;

CREATE VIEW drawn AS
SELECT 'c' || lpad(n::VARCHAR, 5, '0') AS customer,
       1 + floor(12 * chance(n, 'recency'))::INTEGER AS recency,
       round(exp(4 + 1.1 * sqrt(-2 * ln(1 - 0.999 * chance(n, 'history'))) * cos(2 * pi() * chance(n, 'angle'))), 2) AS history,
       chance(n, 'mens') < 0.55 AS mens,
       chance(n, 'mens') >= 0.45 AS womens,
       ['Urban', 'Surburban', 'Rural'][1 + (chance(n, 'zip') > 0.4)::INTEGER + (chance(n, 'zip') > 0.85)::INTEGER] AS zip_code,
       chance(n, 'newbie') < 0.5 AS newbie,
       ['Phone', 'Web', 'Multichannel'][1 + (chance(n, 'channel') > 0.44)::INTEGER + (chance(n, 'channel') > 0.88)::INTEGER] AS channel,
       ['mens_mail', 'womens_mail', 'none'][1 + floor(3 * chance(n, 'lot'))::INTEGER] AS segment,
       chance(n, 'buys') AS buys, chance(n, 'basket') AS basket, chance(n, 'holdout') AS holdout
FROM range(64000) AS r(n);

CREATE VIEW customers AS
SELECT * EXCLUDE (buys, basket, holdout),
       CASE WHEN buys < 0.01 + 0.02 * exp(-recency / 4.0) + 0.01 * (history > 150)::INTEGER
                      + (CASE WHEN newbie THEN 0.5 ELSE 1 END)
                      * (CASE segment WHEN 'mens_mail' THEN 0.04 * (mens AND recency <= 6)::INTEGER
                                      WHEN 'womens_mail' THEN 0.05 * (womens AND history > 150)::INTEGER ELSE 0 END)
            THEN round(20 + 0.1 * least(history, 800) - 25 * ln(1 - 0.999 * basket), 2) ELSE 0 END AS spend,
       holdout < 0.3 AS is_holdout
FROM drawn;

CREATE VIEW users AS
SELECT customer AS user_id, TIMESTAMPTZ '2008-01-01 00:00:00+00' AS known_from,  -- known before the mailing
       recency, history, mens, womens, zip_code, newbie, channel AS bought_by
FROM customers;

-- `outcome` is the margin of the two weeks (0.4 of what was spent), before the cost of the mailing.
CREATE VIEW treatments AS
SELECT customer AS user_id, TIMESTAMPTZ '2008-03-20 00:00:00+00' AS decided_at,
       segment AS offer_id, 0 AS discount, CASE segment WHEN 'none' THEN 'none' ELSE 'email' END AS channel,
       1 / 3.0 AS propensity, CASE segment WHEN 'none' THEN 0 ELSE 0.15 END AS cost,
       0.4 * spend AS outcome, TIMESTAMPTZ '2008-04-03 00:00:00+00' AS outcome_at, is_holdout
FROM customers;
