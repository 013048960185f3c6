%% The management API, as far as it is asked: the alarms that are on. Basic authentication, with the users of the configuration.
-module(emqx_http).
-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, serve/1]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    process_flag(trap_exit, true),
    [listen(Address) || Name <- [http, dashboard], {ok, Address} <- [application:get_env(emqx, Name)]],
    {ok, none}.

listen({Ip, Port}) ->
    {ok, Socket} = gen_tcp:listen(Port, [binary, {ip, Ip}, {packet, http_bin}, {active, false}, {reuseaddr, true}]),
    spawn_link(fun() -> accept(Socket) end).

handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast(_Message, State) ->
    {noreply, State}.

handle_info(_Message, State) ->
    {noreply, State}.

accept(Listening) ->
    {ok, Socket} = gen_tcp:accept(Listening),
    Pid = spawn(fun() -> receive go -> ?MODULE:serve(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    accept(Listening).

serve(Socket) ->
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, {http_request, 'GET', {abs_path, Path}, _}} ->
            {Status, Body} = case Path =:= <<"/">> orelse allowed(headers(Socket, #{})) of
                true -> resource(Path);
                false -> {"401 Unauthorized", <<"{\"message\":\"unauthorized\"}">>}
            end,
            ok = inet:setopts(Socket, [{packet, raw}]),
            gen_tcp:send(Socket, ["HTTP/1.1 ", Status, "\r\ncontent-type: application/json\r\nconnection: close\r\n",
                                  "content-length: ", integer_to_list(byte_size(Body)), "\r\n\r\n", Body]);
        _ -> ok
    end,
    gen_tcp:close(Socket).

headers(Socket, Headers) ->
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, {http_header, _, Name, _, Value}} -> headers(Socket, Headers#{Name => Value});
        _ -> Headers
    end.

allowed(#{'Authorization' := <<"Basic ", Coded/binary>>}) ->
    {ok, User} = application:get_env(emqx, api_user),
    base64:decode(Coded) =:= list_to_binary(User);
allowed(_) ->
    false.

resource(<<"/api/v4/alarms/activated">>) ->
    Alarms = [alarm(Alarm) || Alarm <- emqx_alarm:activated()],
    Body = ["{\"code\":0,\"data\":[{\"node\":\"", atom_to_list(node()), "\",\"alarms\":[",
            lists:join(",", Alarms), "]}]}"],
    {"200 OK", iolist_to_binary(Body)};
%% The dashboard's page, for everybody.
resource(<<"/">>) ->
    {"200 OK", <<"<!DOCTYPE html><title>Dashboard</title>">>};
resource(_) ->
    {"404 Not Found", <<"{\"code\":\"RESOURCE_NOT_FOUND\"}">>}.

alarm({Name, Message, At}) ->
    ["{\"name\":\"", io_lib:format("~s", [Name]), "\",\"message\":\"", Message, "\",\"details\":{},\"activate_at\":",
     integer_to_list(At), ",\"deactivate_at\":\"infinity\",\"activated\":true,\"duration\":",
     integer_to_list((erlang:system_time(microsecond) - At) div 1000), "}"].
