"""What lowers the risk, its price, and the bound it promises."""
