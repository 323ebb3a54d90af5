"""Decimals of currencies (minor units of ISO 4217) where they are not two."""

from __future__ import annotations

MINOR_UNITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DECIMALS = {currency: decimals for decimals, names in MINOR_UNITS.items() for currency in names.split()}


def decimals_of(currency: str) -> int:
    """Decimals of an amount in a currency, by its ISO code; two where ISO knows none.

    Examples
    --------
    >>> decimals_of("EUR"), decimals_of("KWD"), decimals_of("JPY")
    (2, 3, 0)
    """
    return _DECIMALS.get(currency.upper(), 2)
