-- UCI Online Retail (id 352), a British gift wholesaler, 2010-12-01 to 2011-12-09: 541,909 lines, no offers.
-- `raw` holds online_retail.parquet. A quarter of the lines has no customer; 5,268 lines are exact duplicates.

CREATE VIEW events AS
SELECT md5(concat_ws('|', InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country)) AS event_id,
       CustomerID::VARCHAR AS user_id,
       -- an invoice number that begins with C is a cancellation: goods came back
       CASE WHEN starts_with(InvoiceNo, 'C') THEN 'refund'
            WHEN UnitPrice * Quantity > 0 THEN 'purchase'
            ELSE 'adjustment' END AS event_name,
       InvoiceDate AT TIME ZONE 'UTC' AS occurred_at,
       round(Quantity * UnitPrice, 2) AS amount,
       Quantity AS quantity,
       StockCode AS item_id,
       -- the data name no categories: the first two digits of the stock code group the products
       left(StockCode, 2) AS item_category,
       InvoiceNo AS session_id,
       Country AS country
FROM read_parquet(getvariable('raw') || '/online_retail.parquet');

CREATE VIEW users AS
SELECT CustomerID::VARCHAR AS user_id, min_by(Country, InvoiceDate) AS country,
       min(InvoiceDate) AT TIME ZONE 'UTC' AS known_from
FROM read_parquet(getvariable('raw') || '/online_retail.parquet')
WHERE CustomerID IS NOT NULL
GROUP BY CustomerID;
