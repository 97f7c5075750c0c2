import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import WireFormat

/// `/api/bots/{id}/workspace`: the bot's files as they lie on its node.
struct WorkspaceRoutes {
    let services: HubServices

    private enum EntryKind: String, Codable, CaseIterable, Sendable {
        case file, directory, symlink, other

        init(_ type: WireEntryType) {
            self =
                switch type {
                case .file, .hardLink: .file
                case .directory: .directory
                case .symlink: .symlink
                case .other, .unspecified, .UNRECOGNIZED: .other
                }
        }
    }

    private struct Entry: Codable, APIDocument {
        static let schemaName: String? = "WorkspaceEntry"

        let name: String
        let path: String
        let type: EntryKind
        let sizeBytes: UInt64
        let modifiedAt: Date
        let mode: String
        let etag: String
        let linkTarget: String?

        static var memberDetails: [String: Schema] {
            [
                "name": Schema().described("For people: bytes that are no UTF-8 show as U+FFFD."),
                "path": Schema().described("From the workspace on, percent-encoded: append it to `…/workspace/`."),
                "mode": Schema().described("Permissions in octal digits."),
                "etag": Schema().described("For `If-Match`."),
            ]
        }

        init(_ entry: WireWorkspaceEntry, in directory: [UInt8]) {
            name = String(decoding: entry.name, as: UTF8.self)
            let whole = directory + (directory.isEmpty || entry.name.isEmpty ? [] : [UInt8(ascii: "/")]) + entry.name
            path = PercentEncoding.encode(whole, keeping: PercentEncoding.pathBytes)
            type = EntryKind(entry.type)
            sizeBytes = entry.size
            modifiedAt = entry.modifiedAt
            mode = "0" + String(entry.mode, radix: 8)
            etag = "\"\(entry.tag)\""
            linkTarget = entry.type == .symlink ? String(decoding: entry.linkTarget, as: UTF8.self) : nil
        }
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/bots/{id}/workspace",
                .viewer,
                .files,
                "What lies in a directory of the workspace, by name.",
                parameters: [
                    .query(
                        "list",
                        .string(lengths: 0...4000),
                        "The directory, percent-encoded; the workspace itself unless given."
                    ),
                    .limit, .cursor,
                ],
                answers: [.json(Page<Entry>.self)],
                errors: [.nodeOffline, .forbidden, .agentTimeout, .hubBusy, .agentTooOld, .transferFailed],
                handler: list
            ),
            APIRoute(
                .get,
                "/api/bots/{id}/workspace/{path*}",
                .viewer,
                .files,
                "A file, or a part of it.",
                details: """
                    `Range` asks for one part, `If-Range` for the whole where the file has changed meanwhile. A file that is \
                    written to while it is read ends the answer before its announced length.
                    """,
                parameters: [
                    .header(
                        "Range",
                        .string(lengths: 0...4096),
                        "One range of bytes: `bytes=0-499`, `bytes=500-`, `bytes=-500`."
                    ),
                    .header(
                        "If-Range",
                        .string(lengths: 0...4096),
                        "The range only where the file still has this tag."
                    ),
                    .header(
                        "If-None-Match",
                        .string(lengths: 0...4096),
                        "Nothing (304) where the file still has one of these tags."
                    ),
                    .query("download", .boolean, "`true`: to be stored and not shown."),
                ],
                answers: [
                    .content("application/octet-stream", "The file, as the type its name suggests.", .bytes)
                        .or("text/plain"),
                    APIAnswer(
                        status: .partialContent,
                        description: "The part.",
                        content: [APIAnswer.Content(mediaType: "application/octet-stream") { _ in .bytes }]
                    ),
                    APIAnswer(status: .notModified, description: "The file has not changed."),
                ],
                errors: Self.errors + [.rangeNotSatisfiable, .tooManyStreams],
                handler: read
            ),
            APIRoute(
                .put,
                "/api/bots/{id}/workspace/{path*}",
                .operator,
                .files,
                "Makes or replaces a file, at once and whole; with a slash at the end, makes a directory.",
                details:
                    "Directories that are missing are made. Whoever reads meanwhile sees the old file or the new one.",
                parameters: [
                    .header(
                        "If-Match",
                        .string(lengths: 0...4096),
                        "Only where the file has one of these tags; `*`: only where it exists."
                    ),
                    .header(
                        "If-None-Match",
                        .string(lengths: 0...4096),
                        "`*`: only where nothing of this name exists; tags: only where the file has none of them."
                    ),
                ],
                body: .bytes(),
                answers: [.json(Entry.self, "Written."), .created(Entry.self)],
                errors: Self.errors + [
                    .preconditionFailed, .conflict, .payloadTooLarge, .storageFull, .tooManyStreams,
                ],
                handler: write
            ),
            APIRoute(
                .delete,
                "/api/bots/{id}/workspace/{path*}",
                .operator,
                .files,
                "Removes a file, a link, or a directory.",
                parameters: [
                    .query("recursive", .boolean, "`true`: a directory with all it holds."),
                    .header("If-Match", .string(lengths: 0...4096), "Only where the entry has one of these tags."),
                    .header(
                        "If-None-Match",
                        .string(lengths: 0...4096),
                        "Only where the entry has none of these tags."
                    ),
                ],
                answers: [.noContent],
                errors: Self.errors + [.preconditionFailed, .conflict],
                handler: remove
            ),
        ]
    }

    private static let errors: [HubError.Code] = [
        .nodeOffline, .forbidden, .agentTimeout, .hubBusy, .agentTooOld, .transferFailed,
    ]

    // MARK: - Handlers

    @Sendable
    private func list(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let bot = try context.botID()
        let directory = try PercentEncoding.path(Self.rawQuery("list", request) ?? "")
        let limit = try request.pageLimit()
        let after = try Self.cursor(request)
        let listing = try await services.workspaces.list(bot, directory, after: after, limit: limit)
        // A page is made of one row more than it shows where there are more.
        let rows = listing.entries + (listing.isLast ? [] : [WireWorkspaceEntry()])
        return try JSONCoding.response(
            Page(
                rows,
                limit: listing.entries.count,
                cursor: { NameCursor.text(Array($0.name)) },
                item: { Entry($0, in: directory) }
            )
        )
    }

    @Sendable
    private func read(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let (path, _) = try Self.path(request)
        let conditions = ReadConditions(request.headers)
        let part = conditions.part
        if request.method == .head { return try await head(try context.botID(), path, request) }
        var reading = try await services.workspaces.read(
            try context.botID(),
            path,
            part,
            WorkspaceOperations.Condition(),
            by: try context.actor()
        )
        if conditions.isUnchanged(reading.entry.tag) {
            reading.cancel()
            return Response(
                status: .notModified,
                headers: [.eTag: "\"\(reading.entry.tag)\"", .cacheControl: "no-cache"]
            )
        }
        if part != .whole, !conditions.wantsPart(of: reading.entry.tag) {
            reading.cancel()
            reading = try await services.workspaces.read(
                try context.botID(),
                path,
                .whole,
                WorkspaceOperations.Condition(),
                by: try context.actor()
            )
            return response(reading, .whole, path, request, context)
        }
        return response(reading, part, path, request, context)
    }

    private func head(_ bot: BotID, _ path: [UInt8], _ request: Request) async throws -> Response {
        let entry = try await services.workspaces.entry(bot, path)
        guard entry.type != .directory else {
            throw HubError(.invalidRequest, "This is a directory; list it with `?list=`.")
        }
        var headers = FileHeaders.headers(entry, path, isDownload: (try? request.flag("download")) ?? false)
        headers[.contentLength] = String(entry.size)
        return Response(status: .ok, headers: headers)
    }

    private func response(
        _ reading: WorkspaceOperations.Reading,
        _ part: WorkspaceOperations.Part,
        _ path: [UInt8],
        _ request: Request,
        _ context: HubRequestContext
    ) -> Response {
        let size = reading.entry.size
        // `try?`: a value that is none means no.
        var headers = FileHeaders.headers(reading.entry, path, isDownload: (try? request.flag("download")) ?? false)
        guard let range = part.bytes(of: size) else {
            reading.cancel()
            headers[.contentRange] = "bytes */\(size)"
            headers[.contentType] = nil
            headers[.contentDisposition] = nil
            return ErrorRendering.response(
                for: HubError(.rangeNotSatisfiable, "The file has \(size) bytes, and this part lies outside."),
                logger: context.logger
            ).adding(headers)
        }
        let length = range.upperBound - range.lowerBound
        headers[.contentLength] = String(length)
        if part != .whole { headers[.contentRange] = "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(size)" }
        let body = ResponseBody.announced(length) { [services] writer in
            defer { reading.cancel() }
            try await CredentialWatch(context, services).guarding {
                while let bytes = try await reading.next() { try await writer.write(bytes) }
            }
            try await writer.finish(nil)
        }
        return Response(status: part == .whole ? .ok : .partialContent, headers: headers, body: body)
    }

    @Sendable
    private func write(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let (path, isDirectory) = try Self.path(request)
        let bot = try context.botID()
        let actor = try context.actor()
        let parent = Array(path[..<(path.lastIndex(of: UInt8(ascii: "/")) ?? 0)])
        if isDirectory {
            let entry = try await services.workspaces.makeDirectory(bot, path, by: actor)
            return try JSONCoding.response(Entry(entry, in: parent), status: .created)
        }
        let condition = try await changeCondition(request, bot, path)
        let entry = try await CredentialWatch(context, services).guarding {
            try await services.workspaces.write(
                bot,
                path,
                size: request.headers[.contentLength].flatMap { UInt64(decimal: $0) },
                condition,
                body: request.body,
                by: actor
            )
        }
        return try JSONCoding.response(
            Entry(entry, in: parent),
            status: condition.isAbsent ? .created : .ok,
            headers: [.eTag: "\"\(entry.tag)\""]
        )
    }

    @Sendable
    private func remove(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let (path, _) = try Self.path(request)
        let bot = try context.botID()
        let condition = try await changeCondition(request, bot, path)
        try await services.workspaces.remove(
            bot,
            path,
            recursive: try request.flag("recursive"),
            condition,
            by: try context.actor()
        )
        return Response(status: .noContent)
    }

    /// Under what condition a request changes something (RFC 9110 §13.1).
    ///
    /// A node knows the tags that an entry must have, and none that it must not have. So where there are such tags the entry
    /// is looked at here, and is changed only if it is still what it was then.
    private func changeCondition(
        _ request: Request,
        _ bot: BotID,
        _ path: [UInt8]
    ) async throws -> WorkspaceOperations.Condition {
        var condition = WorkspaceOperations.Condition()
        condition.tags = EntityTags.list(request.headers[.ifMatch])
        let unwanted = EntityTags.list(request.headers[.ifNoneMatch], isWeak: true)
        guard !unwanted.isEmpty else { return condition }
        guard !unwanted.contains(EntityTags.malformed) else {
            throw HubError(.invalidRequest, "`If-None-Match` must be `*` or entity tags in double quotes.")
        }
        guard !unwanted.contains("*") else {
            condition.isAbsent = true
            return condition
        }
        let entry: WireWorkspaceEntry
        do {
            entry = try await services.workspaces.entry(bot, path)
        } catch let error as HubError where error.code == .notFound {
            condition.isAbsent = condition.tags.isEmpty
            return condition
        }
        guard !unwanted.contains(entry.tag) else {
            throw HubError(
                .preconditionFailed,
                "The file still has the tag that `If-None-Match` rules out; nothing was changed."
            )
        }
        if condition.tags.isEmpty || condition.tags.contains("*") || condition.tags.contains(entry.tag) {
            condition.tags = [entry.tag]
        }
        return condition
    }

    // MARK: - Names

    /// The bytes of the path behind `…/workspace/`, and whether it ends in a slash. Not the router's parts: names need not
    /// be text.
    private static func path(_ request: Request) throws -> (path: [UInt8], isDirectory: Bool) {
        let raw = request.uri.string.prefix { $0 != "?" && $0 != "#" }
        let parts = raw.split(separator: "/", omittingEmptySubsequences: false).dropFirst(5)
        var text = parts.joined(separator: "/")
        let isDirectory = text.hasSuffix("/")
        if isDirectory { text.removeLast() }
        let path = try PercentEncoding.path(text)
        guard !path.isEmpty else { throw HubError(.invalidRequest, "Name a file: …/workspace/NAME.") }
        return (path, isDirectory)
    }

    /// The name that the page before ended with; empty for the first page.
    private static func cursor(_ request: Request) throws -> [UInt8] {
        try request.cursor(NameCursor.name) ?? []
    }

    private static func rawQuery(_ name: String, _ request: Request) -> String? {
        for pair in (request.uri.query ?? "").split(separator: "&") where pair.hasPrefix(name + "=") {
            return String(pair.dropFirst(name.count + 1))
        }
        return nil
    }
}

extension WireWorkspaceEntry {
    fileprivate var modifiedAt: Date { Date(unixMilliseconds: modifiedUnixNs / 1_000_000) }
}

extension Response {
    fileprivate func adding(_ more: HTTPFields) -> Response {
        var response = self
        for field in more where response.headers[field.name] == nil { response.headers.append(field) }
        return response
    }
}
