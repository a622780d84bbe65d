//! Depth-first search (Wing and Gong 1993; Lowe 2017), for any model.
