/// A first-in first-out queue whose `popFirst` neither moves the rest nor copies the element.
struct FIFO<Element: Sendable>: Sendable {
    /// More room than this is given back when the queue runs empty.
    private static var keptCapacity: Int { 64 }

    /// Apart from the others, because most queues hold one element at a time and an array is more than that needs.
    private(set) var first: Element?
    /// The elements behind `first`, from `head` on.
    private var storage: [Element?] = []
    private var head = 0

    var isEmpty: Bool { first == nil }
    var count: Int { isEmpty ? 0 : 1 + storage.count - head }

    mutating func append(_ element: Element) {
        guard first != nil else {
            first = element
            return
        }
        // A queue that never runs empty must not drag what has left it along for ever.
        if head > 1024, head * 2 > storage.count {
            storage.removeFirst(head)
            head = 0
        }
        storage.append(element)
    }

    mutating func popFirst() -> Element? {
        let element = first.take()
        if head < storage.count {
            first = storage[head].take()
            head += 1
            if head == storage.count {
                storage.removeAll(keepingCapacity: storage.capacity <= Self.keptCapacity)
                head = 0
            }
        }
        return element
    }
}
