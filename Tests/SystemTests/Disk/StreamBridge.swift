import SwiftProtobuf

@testable import WireFormat

/// A stream of a simulated session, for code that awaits: the real one's place between tasks and the mux.
///
/// Unchecked: all of a simulation is on one thread.
final class StreamBridge<Machine: SessionMachine>: StreamHost, @unchecked Sendable {
    private let driver: SessionDriver<Machine>
    private let changed = Signal()
    private let onSend: ([UInt8]) -> Void

    private init(_ driver: SessionDriver<Machine>, _ onSend: @escaping ([UInt8]) -> Void) {
        (self.driver, self.onSend) = (driver, onSend)
    }

    /// One that the other side has opened.
    static func accepted(
        _ id: UInt32,
        _ driver: SessionDriver<Machine>,
        onSend: @escaping ([UInt8]) -> Void = { _ in }
    ) -> SessionStream {
        let bridge = StreamBridge(driver, onSend)
        driver.watch(id) { bridge.changed.wake() }
        return SessionStream(id: id, host: bridge, changed: bridge.changed)
    }

    /// A new one; nil where the session takes none.
    static func open(_ header: WireStreamHeader, _ driver: SessionDriver<Machine>) -> SessionStream? {
        let bridge = StreamBridge(driver) { _ in }
        guard let id = driver.open(header, priority: .bulk, { bridge.changed.wake() }) else { return nil }
        driver.watch(id) { bridge.changed.wake() }
        return SessionStream(id: id, host: bridge, changed: bridge.changed)
    }

    private func requireSession() throws {
        guard driver.ending == nil else { throw WireFormatError(.sessionClosed, "the session has ended") }
    }

    func send(_ message: [UInt8], on stream: UInt32) throws -> Bool {
        try requireSession()
        guard let isTaken = driver.send(message, on: stream) else {
            throw WireFormatError(.streamReset, "stream \(stream) takes nothing more", resetCode: .cancelled)
        }
        if isTaken { onSend(message) }
        return isTaken
    }

    func read(stream: UInt32) throws -> MuxMachine.ReadResult {
        try requireSession()
        return driver.read(stream)
    }

    func isOver(stream: UInt32) -> Bool { driver.ending != nil || driver.isReset(stream) }
    func finish(stream: UInt32) { driver.finish(stream) }
    func reset(stream: UInt32, code: StreamResetCode, reason: String) { driver.reset(stream, code) }
    func releaseStream(_ stream: UInt32) { driver.release(stream) }
    func note(_ excess: WireExcess) {}
}
