import Glibc
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import ControlHub

@Suite("Where nothing more can be opened")
struct ShortageHandlerTests {
    @Test("room is made once at the end of each pause, whatever is told meanwhile, and other errors go on")
    func pauses() throws {
        let rooms = RoomCount()
        let channel = EmbeddedChannel(handler: ShortageHandler(isShort: { false }, makeRoom: { rooms.add() }))
        for errno in [EMFILE, ENFILE, EMFILE] {
            channel.pipeline.fireErrorCaught(IOError(errnoCode: errno, reason: "accept"))
        }
        try channel.throwIfErrorCaught()
        #expect(rooms.count == 0, "who came last is not sent away at once")
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(250))
        #expect(rooms.count == 1)
        channel.pipeline.fireErrorCaught(IOError(errnoCode: EMFILE, reason: "accept"))
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(250))
        #expect(rooms.count == 2)
        channel.pipeline.fireErrorCaught(IOError(errnoCode: EBADF, reason: "accept"))
        #expect(throws: IOError.self) { try channel.throwIfErrorCaught() }
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(250))
        _ = try channel.finish()
    }

    @Test("room is made where only the last descriptors are left, until there is some, or nobody is left to make it")
    func reserve() throws {
        let rooms = RoomCount()
        let channel = EmbeddedChannel(
            handler: ShortageHandler(
                isShort: { rooms.isShort.load(ordering: .relaxed) },
                makeRoom: { rooms.add() }
            )
        )
        func pass() { channel.embeddedEventLoop.advanceTime(by: .milliseconds(230)) }
        try channel.writeInbound("a connection")
        pass()
        #expect(rooms.count == 0)
        rooms.isShort.store(true, ordering: .relaxed)
        try channel.writeInbound("another")
        try channel.writeInbound("and another")
        #expect(rooms.count == 0)
        for count in 1...3 {
            pass()
            #expect(rooms.count == count)
        }
        rooms.isShort.store(false, ordering: .relaxed)
        pass()
        pass()
        #expect(rooms.count == 4, "the last one was under way")
        rooms.isShort.store(true, ordering: .relaxed)
        rooms.canMake.store(false, ordering: .relaxed)
        try channel.writeInbound("one that has proved who it is")
        for _ in 1...3 { pass() }
        #expect(rooms.count == 5)
        // None was kept back.
        for _ in 1...4 { #expect(try channel.readInbound(as: String.self) != nil) }
        _ = try channel.finish()
    }

    @Test("the last descriptors are those below the limit")
    func limit() throws {
        #expect(!FileDescriptorLimit.isShort())
    }

    private final class RoomCount: Sendable {
        private let value = Atomic<Int>(0)
        let isShort = Atomic(false)
        let canMake = Atomic(true)
        var count: Int { value.load(ordering: .relaxed) }

        func add() -> Bool {
            value.add(1, ordering: .relaxed)
            return canMake.load(ordering: .relaxed)
        }
    }
}
