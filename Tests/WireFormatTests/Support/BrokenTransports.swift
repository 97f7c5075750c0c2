import Synchronization
import WireFormat

/// A value that several tasks change.
final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) { mutex = Mutex(value) }

    func withLock<Result: Sendable>(_ body: (inout Value) -> Result) -> Result {
        mutex.withLock { body(&$0) }
    }
}

/// A flag that one task raises and another waits for.
final class Signalled: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

    func fire() { continuation.yield() }

    func wait() async {
        for await _ in stream { return }
    }
}

/// Fails to send; after that the peer's close frame can be read, or nothing.
final class BrokenTransport: MessageTransport {
    private let closure: TransportClosure?
    private let failed = Signalled()
    private let never = Signalled()

    init(closure: TransportClosure?) { self.closure = closure }

    func send(_ message: [UInt8]) async throws {
        failed.fire()
        throw Unexpected()
    }

    func receive() async throws -> [UInt8]? {
        await failed.wait()
        if let closure { throw closure }
        await never.wait()
        try Task.checkCancellation()
        return nil
    }

    func close(code: UInt16, reason: String) async {}
}

/// Accepts a connection and then takes no byte.
final class StuckTransport: MessageTransport {
    private let entered = Signalled()
    private let never = Signalled()

    func waitForSend() async { await entered.wait() }

    func send(_ message: [UInt8]) async throws {
        entered.fire()
        await never.wait()
        try Task.checkCancellation()
    }

    func receive() async throws -> [UInt8]? {
        // allow-sleep: what never comes; the test ends it by cancellation
        try await Task.sleep(for: .seconds(3600))
        return nil
    }

    func close(code: UInt16, reason: String) async {}
}
