import Glibc
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import ControlHub

@Suite("Where nothing more can be opened")
struct ShortageHandlerTests {
    @Test("room is made once for each pause, whatever is told meanwhile, and other errors go on")
    func pauses() throws {
        let rooms = RoomCount()
        let channel = EmbeddedChannel(handler: ShortageHandler { rooms.add() })
        for errno in [EMFILE, ENFILE, EMFILE] {
            channel.pipeline.fireErrorCaught(IOError(errnoCode: errno, reason: "accept"))
        }
        try channel.throwIfErrorCaught()
        #expect(rooms.count == 1)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(250))
        channel.pipeline.fireErrorCaught(IOError(errnoCode: EMFILE, reason: "accept"))
        #expect(rooms.count == 2)
        channel.pipeline.fireErrorCaught(IOError(errnoCode: EBADF, reason: "accept"))
        #expect(throws: IOError.self) { try channel.throwIfErrorCaught() }
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(250))
        _ = try channel.finish()
    }

    private final class RoomCount: Sendable {
        private let value = Atomic<Int>(0)
        var count: Int { value.load(ordering: .relaxed) }
        func add() { value.add(1, ordering: .relaxed) }
    }
}
