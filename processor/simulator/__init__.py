"""Didit as it is documented: strict, unkind, and with a ledger of all that it was asked. Stands alone; docs/simulator.md."""
