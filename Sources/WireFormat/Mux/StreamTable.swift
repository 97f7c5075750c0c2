/// The streams of a link by their ids.
///
/// An array and not a dictionary: a value of a dictionary is copied to look at one of its properties, and there are a
/// few streams at a time, so that looking through their ids costs less than hashing one.
struct StreamTable: Sendable {
    /// Where a stream stands; good until the next `insert` or `remove`.
    typealias Index = Int

    private var ids: [UInt32] = []
    var values: [MuxStream] = []

    func index(forKey id: UInt32) -> Index? { ids.firstIndex(of: id) }

    /// The id must not be in the table.
    mutating func insert(_ stream: MuxStream, as id: UInt32) {
        ids.append(id)
        values.append(stream)
    }

    mutating func remove(at index: Index) {
        ids.swapAt(index, ids.count - 1)
        values.swapAt(index, values.count - 1)
        ids.removeLast()
        values.removeLast()
    }

    /// The ids of the streams for which `predicate` holds, in ascending order.
    func ids(where predicate: (UInt32, MuxStream) -> Bool) -> [UInt32] {
        zip(ids, values).filter(predicate).map(\.0).sorted()
    }
}
