//! Zones (Gibbons and Korach, Testing shared memories, 1997): where each value is written once.
