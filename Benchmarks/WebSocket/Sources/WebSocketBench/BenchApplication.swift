import WebSocketKitLite

/// What the server's three endpoints do with what they are sent.
///
/// `@unchecked Sendable`: used on its connection's event loop only.
final class BenchApplication: WebSocketApplication, @unchecked Sendable {
    enum Behaviour: Sendable {
        case echo
        case sink
        case source

        init(path: String) {
            switch path {
            case "/sink": self = .sink
            case "/source": self = .source
            default: self = .echo
            }
        }
    }

    /// A peer that does not read is not read from any more beyond this.
    private static let maxQueuedBytes = 256 << 10

    private let behaviour: Behaviour
    private var queue: [WebSocketOutbound] = []
    private var taken = 0
    private var queuedBytes = 0
    /// What `/source` still owes.
    private var owed: (message: WebSocketOutbound, count: Int)?
    private var received = (messages: 0, bytes: 0)

    init(_ behaviour: Behaviour) {
        self.behaviour = behaviour
    }

    func opened() {}

    func receive(_ message: WebSocketMessage) {
        switch (behaviour, message) {
        case (.echo, _):
            enqueue(message)
        case (.sink, .binary(let payload)):
            received.messages += 1
            received.bytes += payload.count
        case (.sink, .text):
            enqueue(.text("\(received.messages) \(received.bytes)"))
            received = (0, 0)
        case (.source, .text(let order)):
            begin(order)
        case (.source, .binary):
            break
        }
    }

    var wantsMessages: Bool { queuedBytes < Self.maxQueuedBytes && owed == nil }

    func next() -> WebSocketOutbound? {
        if let owed {
            self.owed = owed.count > 1 ? (owed.message, owed.count - 1) : nil
            return owed.message
        }
        guard taken < queue.count else { return nil }
        let next = queue[taken]
        taken += 1
        if case .message(let message) = next { queuedBytes -= message.byteCount }
        if taken == queue.count {
            queue.removeAll(keepingCapacity: true)
            taken = 0
        }
        return next
    }

    func setBlocked(_ isBlocked: Bool) {}

    var nextDeadline: ContinuousClock.Instant? { nil }

    func tick() {}

    func closed(_ status: CloseStatus) {}

    private func enqueue(_ message: WebSocketMessage) {
        queuedBytes += message.byteCount
        queue.append(.message(message))
    }

    private func begin(_ order: String) {
        let numbers = order.split(separator: " ").compactMap { Int($0) }
        guard numbers.count == 2, (0...(16 << 20)).contains(numbers[0]), numbers[1] >= 0 else {
            queue.append(.close(.policyViolation, reason: "ask for SIZE COUNT"))
            return
        }
        guard numbers[1] > 0 else { return }
        owed = (.message(.binary(BenchPayload.bytes(numbers[0]))), numbers[1])
    }
}
