import CCurl
import Dispatch
import Glibc
import Synchronization
import WireFormat

/// HTTP over the engine's Unix socket by libcurl: one thread for all requests, begun with the first.
final class CurlTransport: EngineTransport {
    private let socketPath: String
    private let driver = Mutex<CurlDriver?>(nil)

    init(socketPath: String) {
        self.socketPath = socketPath
    }

    deinit {
        driver.withLock { $0?.stop() }
    }

    func send(_ request: EngineRequest) async throws(EngineError) -> EngineAnswer {
        guard let library = CurlLibrary.shared else { throw .unreachable(CurlLibrary.advice) }
        let started = driver.withLock { driver in
            if driver == nil { driver = CurlDriver(library, socketPath: socketPath) }
            return driver
        }
        guard let started else { throw .unreachable("libcurl gives no multi handle") }
        let transfer = CurlTransfer(request, driver: started)
        started.enqueue(.add(transfer))
        // From here on the body ends the transfer when nobody holds it any more.
        let body = CurlBody(transfer)
        let head = try await transfer.head()
        return EngineAnswer(status: head.status, headers: head.headers, body: body)
    }
}

/// Ends its transfer when it is let go.
private final class CurlBody: EngineBody {
    private let transfer: CurlTransfer

    init(_ transfer: CurlTransfer) {
        self.transfer = transfer
    }

    deinit {
        transfer.abandon()
    }

    func next() async throws(EngineError) -> [UInt8]? {
        try await transfer.nextBytes()
    }
}

/// The thread that runs libcurl's multi interface. Everything of libcurl's is touched by it alone, except the wake-up,
/// which libcurl allows from anywhere.
///
/// `@unchecked Sendable`: `transfers` belongs to the thread, and the rest stands in a `Mutex`. `multi` is set once and used by
/// others than the thread only to wake it, under the lock under which it is marked as gone before it is freed.
final class CurlDriver: @unchecked Sendable {
    enum Order {
        case add(CurlTransfer)
        case resume(CurlTransfer)
        case cancel(CurlTransfer)
        case stop
    }

    private struct Orders {
        var waiting: [Order] = []
        var isStopped = false
    }

    /// Nothing needs the thread between events; libcurl's own timers shorten this.
    private static let pollMilliseconds: Int32 = 600_000

    let library: CurlLibrary
    private let socketPath: String
    private let multi: UnsafeMutableRawPointer
    private let orders = Mutex(Orders())
    private var transfers: [UnsafeMutableRawPointer: CurlTransfer] = [:]

    init?(_ library: CurlLibrary, socketPath: String) {
        guard let multi = library.functions.pointee.multi_init() else { return nil }
        self.library = library
        self.socketPath = socketPath
        self.multi = multi
        DispatchQueue(label: "edge-agent.engine").async { self.run() }
    }

    func enqueue(_ order: Order) {
        let isTaken = orders.withLock { orders in
            guard !orders.isStopped else { return false }
            orders.waiting.append(order)
            _ = library.functions.pointee.multi_wakeup(multi)
            return true
        }
        // Nobody is left who would end it.
        if !isTaken, case .add(let transfer) = order { transfer.end(.cancelled) }
    }

    func stop() {
        enqueue(.stop)
    }

    private func run() {
        let functions = library.functions.pointee
        while true {
            let waiting = orders.withLock { orders in
                defer { orders.waiting = [] }
                return orders.waiting
            }
            for order in waiting {
                switch order {
                case .add(let transfer): add(transfer)
                case .resume(let transfer):
                    if let easy = transfer.easy { _ = functions.easy_pause(easy, CURLPAUSE_CONT) }
                case .cancel(let transfer): finish(transfer, with: .cancelled)
                case .stop:
                    close()
                    return
                }
            }
            var running: Int32 = 0
            _ = functions.multi_perform(multi, &running)
            collect()
            _ = functions.multi_poll(multi, nil, 0, Self.pollMilliseconds, nil)
        }
    }

    private func close() {
        let late = orders.withLock { orders in
            orders.isStopped = true
            return orders.waiting
        }
        for case .add(let transfer) in late { transfer.end(.cancelled) }
        for transfer in Array(transfers.values) { finish(transfer, with: .cancelled) }
        _ = library.functions.pointee.multi_cleanup(multi)
    }

    private func add(_ transfer: CurlTransfer) {
        guard let easy = library.functions.pointee.easy_init() else {
            transfer.end(.broken("libcurl gives no handle"))
            return
        }
        transfer.configure(easy, socketPath: socketPath)
        transfers[easy] = transfer
        _ = library.functions.pointee.multi_add_handle(multi, easy)
    }

    private func collect() {
        var left: Int32 = 0
        while let message = library.functions.pointee.multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle,
                let transfer = transfers[easy]
            else { continue }
            let code = CCurl_result(message)
            finish(transfer, with: code == CURLE_OK ? nil : failure(code, easy))
        }
    }

    private func finish(_ transfer: CurlTransfer, with error: EngineError?) {
        if let easy = transfer.easy {
            transfers[easy] = nil
            _ = library.functions.pointee.multi_remove_handle(multi, easy)
            transfer.release()
        }
        transfer.end(error)
    }

    private func failure(_ code: CURLcode, _ easy: UnsafeMutableRawPointer) -> EngineError {
        if code == CURLE_COULDNT_CONNECT {
            let number = Int32(clamping: CCurl_get_long(library.functions, easy, CURLINFO_OS_ERRNO))
            return .unreachable(EngineAdvice.unreachable(socketPath, number))
        }
        if code == CURLE_OPERATION_TIMEDOUT {
            return .broken("the container engine at \(socketPath) did not answer in time; look at its log")
        }
        let text = library.functions.pointee.easy_strerror(code).map { String(cString: $0) } ?? "error \(code.rawValue)"
        return .broken("the connection to the container engine at \(socketPath) broke: \(text)")
    }
}

/// One request on its way, and its answer.
///
/// `@unchecked Sendable`: `easy` and what belongs to it is the driver's thread's alone; the rest stands in a `Mutex`.
final class CurlTransfer: @unchecked Sendable {
    struct Head: Sendable {
        var status = 0
        var headers: [String: String] = [:]
    }

    /// The engine is told to wait while this much of an answer has not been taken.
    private static let highWaterBytes = 256 << 10
    private static let connectMilliseconds = 5_000
    private static let mostHeaders = 100

    private struct State {
        var head: Head?
        var bytes: [UInt8] = []
        var isPaused = false
        var outcome: Result<Void, EngineError>?
    }

    private let request: EngineRequest
    private let driver: CurlDriver
    private let state = Mutex(State())
    private let changed = OneWaiter()
    private(set) var easy: UnsafeMutableRawPointer?
    private var headerList: UnsafeMutablePointer<curl_slist>?
    private var incoming = Head()

    init(_ request: EngineRequest, driver: CurlDriver) {
        self.request = request
        self.driver = driver
    }

    // MARK: For the reader

    func head() async throws(EngineError) -> Head {
        while true {
            let (head, outcome) = state.withLock { ($0.head, $0.outcome) }
            if let head { return head }
            if case .failure(let error)? = outcome { throw error }
            if outcome != nil { throw .broken("the container engine ended the connection without an answer") }
            try await wait()
        }
    }

    func nextBytes() async throws(EngineError) -> [UInt8]? {
        while true {
            let (bytes, outcome, wasPaused) = state.withLock { state in
                defer { (state.bytes, state.isPaused) = ([], false) }
                return (state.bytes, state.outcome, state.isPaused)
            }
            if wasPaused { driver.enqueue(.resume(self)) }
            if !bytes.isEmpty { return bytes }
            switch outcome {
            case .success?: return nil
            case .failure(let error)?: throw error
            case nil: try await wait()
            }
        }
    }

    private func wait() async throws(EngineError) {
        await changed.wait()
        if Task.isCancelled { throw .cancelled }
    }

    func abandon() {
        if state.withLock({ $0.outcome == nil }) { driver.enqueue(.cancel(self)) }
    }

    // MARK: For the driver's thread

    func end(_ error: EngineError?) {
        state.withLock { state in
            if state.outcome == nil { state.outcome = error.map { .failure($0) } ?? .success(()) }
        }
        changed.wake()
    }

    func configure(_ easy: UnsafeMutableRawPointer, socketPath: String) {
        self.easy = easy
        let functions = driver.library.functions
        func set(_ option: CURLoption, _ text: String) {
            _ = text.withCString { CCurl_set_pointer(functions, easy, option, $0) }
        }
        func set(_ option: CURLoption, _ number: Int) {
            _ = CCurl_set_long(functions, easy, option, number)
        }
        set(CURLOPT_UNIX_SOCKET_PATH, socketPath)
        set(CURLOPT_URL, "http://engine" + request.target)
        // A proxy of the environment has no business here.
        set(CURLOPT_PROXY, "")
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_CONNECTTIMEOUT_MS, Self.connectMilliseconds)
        if let timeout = request.timeout { set(CURLOPT_TIMEOUT_MS, Int(clamping: timeout.milliseconds)) }
        // Not curl's "100-continue": the engine would make every larger request wait a second.
        var headers = ["Expect:"] + request.headers.map { "\($0.key): \($0.value)" }
        if request.method != "GET" {
            set(CURLOPT_POST, 1)
            _ = CCurl_set_size(functions, easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(request.body.count))
            _ = request.body.withUnsafeBytes {
                CCurl_set_pointer(
                    functions,
                    easy,
                    CURLOPT_COPYPOSTFIELDS,
                    $0.baseAddress ?? UnsafeRawPointer(bitPattern: 1)
                )
            }
            headers.append("Content-Type: application/json")
        }
        set(CURLOPT_CUSTOMREQUEST, request.method)
        for header in headers {
            headerList = functions.pointee.slist_append(headerList, header)
        }
        _ = CCurl_set_pointer(functions, easy, CURLOPT_HTTPHEADER, headerList)
        // The driver holds the transfer for as long as libcurl holds this pointer.
        let context = Unmanaged.passUnretained(self).toOpaque()
        _ = CCurl_set_receiver(
            functions,
            easy,
            CURLOPT_HEADERFUNCTION,
            { bytes, size, count, context in
                CurlTransfer.receive(bytes, size * count, context) { $0.receiveHeader($1) }
            },
            CURLOPT_HEADERDATA,
            context
        )
        _ = CCurl_set_receiver(
            functions,
            easy,
            CURLOPT_WRITEFUNCTION,
            { bytes, size, count, context in
                CurlTransfer.receive(bytes, size * count, context) { $0.receiveBody($1) }
            },
            CURLOPT_WRITEDATA,
            context
        )
    }

    private static func receive(
        _ bytes: UnsafeMutablePointer<CChar>?,
        _ count: Int,
        _ context: UnsafeMutableRawPointer?,
        _ body: (CurlTransfer, UnsafeRawBufferPointer) -> Bool
    ) -> Int {
        guard let context else { return 0 }
        let transfer = Unmanaged<CurlTransfer>.fromOpaque(context).takeUnretainedValue()
        return body(transfer, UnsafeRawBufferPointer(start: bytes, count: count)) ? count : CCurl_write_pause
    }

    func release() {
        guard let easy else { return }
        driver.library.functions.pointee.easy_cleanup(easy)
        driver.library.functions.pointee.slist_free_all(headerList)
        self.easy = nil
        headerList = nil
    }

    private func receiveHeader(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let line = String(decoding: bytes, as: UTF8.self).filter { $0 != "\r\n" && $0 != "\n" && $0 != "\r" }
        if line.hasPrefix("HTTP/") {
            incoming = Head()
            incoming.status = line.split(separator: " ").dropFirst().first.flatMap { Int(decimal: $0) } ?? 0
        } else if let colon = line.firstIndex(of: ":") {
            guard incoming.headers.count < Self.mostHeaders else { return true }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            incoming.headers[line[..<colon].lowercased()] = String(value)
        } else if line.isEmpty, incoming.status >= 200 {
            let head = incoming
            state.withLock { $0.head = head }
            changed.wake()
        }
        return true
    }

    private func receiveBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let isTaken = state.withLock { state in
            guard state.bytes.count < Self.highWaterBytes else {
                state.isPaused = true
                return false
            }
            state.bytes += bytes
            return true
        }
        if isTaken { changed.wake() }
        return isTaken
    }
}
