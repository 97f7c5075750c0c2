import Testing

@testable import WireFormat

@Suite("A first-in first-out queue")
struct FIFOTests {
    private final class Element: Sendable {
        let number: Int
        init(_ number: Int) { self.number = number }
    }

    /// The queue of a session holds streams, whose end takes the lock under which the queue is used.
    @Test("keeps nothing of what was taken")
    func keepsNothing() {
        for count in 1..<40 {
            var queue = FIFO<Element>()
            for number in 0..<count { queue.append(Element(number)) }
            for number in 0..<count {
                weak var taken: Element?
                do {
                    let element = queue.popFirst()
                    #expect(element?.number == number)
                    taken = element
                }
                #expect(taken == nil, "element \(number) of \(count)")
                #expect(queue.count == count - number - 1)
                #expect(queue.elements.map(\.number) == Array(number + 1..<count))
            }
            #expect(queue.popFirst() == nil)
        }
    }
}
