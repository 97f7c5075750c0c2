/// A first-in first-out queue whose `popFirst` does not move the rest each time.
struct FIFO<Element: Sendable>: Sendable {
    /// Apart from the others, because most queues hold one element at a time and an array is more than that needs.
    private(set) var first: Element?
    /// The elements behind `first`, from `head` on.
    private var storage: [Element] = []
    private var head = 0

    var count: Int { isEmpty ? 0 : 1 + storage.count - head }
    var isEmpty: Bool { first == nil }
    var elements: [Element] { first.map { [$0] + storage[head...] } ?? [] }

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
        first = storage[head]
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
