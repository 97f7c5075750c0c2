/// A first-in first-out queue whose `popFirst` neither moves the rest nor copies the element.
struct FIFO<Element: Sendable>: Sendable {
    /// More room than this is given back when the queue runs empty.
    private static var keptCapacity: Int { 64 }

    private var storage: [Element?] = []
    private var head = 0

    var isEmpty: Bool { head == storage.count }
    var count: Int { storage.count - head }
    var first: Element? { isEmpty ? nil : storage[head] }

    mutating func append(_ element: Element) {
        // A queue that never runs empty must not drag what has left it along for ever.
        if head > 1024, head * 2 > storage.count {
            storage.removeFirst(head)
            head = 0
        }
        storage.append(element)
    }

    mutating func popFirst() -> Element? {
        guard head < storage.count else { return nil }
        let element = storage[head].take()
        head += 1
        if head == storage.count {
            storage.removeAll(keepingCapacity: storage.capacity <= Self.keptCapacity)
            head = 0
        }
        return element
    }
}
