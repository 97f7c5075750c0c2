import GRDB

/// Reads a page of a list along an index, and looks at a bounded number of rows for it: what is asked for besides may be rare
/// among millions. A page that ends early says where to go on.
enum Walk {
    /// Rows that are looked at for one page.
    static let rows = 5_000

    struct Found<Item: Sendable>: Sendable {
        var items: [Item] = []
        /// The position of the last row that was looked at, where there may be more behind it; nil at the list's end and where
        /// `items` are as many as were asked for.
        var end: Int64?
    }

    /// - Parameters:
    ///   - cursor: rows in the order of the list, with their `position`.
    ///   - limit: as many are found at most.
    static func through<Item: Sendable>(
        _ cursor: RowCursor,
        limit: Int,
        where isWanted: (Row) -> Bool,
        _ item: (Row) throws -> Item?
    ) throws -> Found<Item> {
        var found = Found<Item>()
        var looked = 0
        while found.items.count < limit, let row = try cursor.next() {
            if isWanted(row) {
                // Nil: it is to begin the next page.
                guard let item = try item(row) else { return found }
                found.items.append(item)
                found.end = nil
            }
            looked += 1
            if looked == rows, found.items.count < limit {
                found.end = row["position"]
                return found
            }
        }
        return found
    }
}
