"""Live models of other frameworks: what their recurrent layers receive, and a watch over them while they learn."""
