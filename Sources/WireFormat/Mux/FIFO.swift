/// A first-in first-out queue whose `popFirst` neither moves the rest nor keeps the element.
///
/// What is taken out is the taker's alone: a stream that is let go of ends then, and not when the queue happens to tidy
/// up, which may be under a lock that the stream's end needs.
struct FIFO<Element: Sendable>: Sendable {
    /// Apart from the others, because most queues hold one element at a time and an array is more than that needs.
    private(set) var first: Element?
    /// The elements behind `first`, from `head` on; nil before.
    private var storage: [Element?] = []
    private var head = 0

    var count: Int { isEmpty ? 0 : 1 + storage.count - head }
    var isEmpty: Bool { first == nil }
    var elements: [Element] { first.map { [$0] + storage[head...].compactMap(\.self) } ?? [] }

    mutating func append(_ element: Element) {
        if first == nil {
            first = element
        } else {
            storage.append(element)
        }
    }

    mutating func popFirst() -> Element? {
        let element = first.take()
        guard head < storage.count else { return element }
        first = storage[head].take()
        head += 1
        // Once half is dead space; keeps both the copying and the memory within a constant factor.
        if head * 2 >= storage.count {
            storage.removeFirst(head)
            head = 0
        }
        return element
    }

    mutating func removeAll() {
        self = FIFO()
    }
}
