%% What the broker says of itself: its version and for how long it has run.
%%
%% This is the module that differs between the releases. The macros are set when it is compiled:
%%   VERSION           the release
%%   CODE_CHANGE_FAILS its upgrade out of another release fails, after the point of no return
%%   BAD_LATER         some time after it was installed hot, it opens no new connection and raises an alarm
-module(emqx_sys).
-vsn(?VERSION).
-behaviour(gen_server).

-export([start_link/0, sysdescr/0, version/0, uptime/0, datetime/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, code_change/3]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

sysdescr() ->
    "EMQX".

version() ->
    ?VERSION.

uptime() ->
    in_words(gen_server:call(?MODULE, uptime)).

datetime() ->
    {{Year, Month, Day}, {Hour, Minute, Second}} = calendar:local_time(),
    lists:flatten(io_lib:format("~4..0w-~2..0w-~2..0w ~2..0w:~2..0w:~2..0w",
                                [Year, Month, Day, Hour, Minute, Second])).

init([]) ->
    {ok, #{since => erlang:monotonic_time(second)}}.

handle_call(uptime, _From, #{since := Since} = State) ->
    {reply, erlang:monotonic_time(second) - Since, State}.

handle_cast(_Message, State) ->
    {noreply, State}.

handle_info(bad, State) ->
    emqx_alarm:activate(<<"listener_down">>, <<"no new connection is accepted">>),
    emqx_listener:close(),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

-ifdef(CODE_CHANGE_FAILS).
code_change({down, _}, State, _Extra) ->
    {ok, State};
code_change(_Old, State, _Extra) ->
    erlang:error({unknown_state, State}).
-else.
-ifdef(BAD_LATER).
code_change({down, _}, State, _Extra) ->
    {ok, State};
code_change(_Old, State, _Extra) ->
    erlang:send_after(emqx_double:bad_after(), self(), bad),
    {ok, State}.
-else.
code_change(_Old, State, _Extra) ->
    {ok, State}.
-endif.
-endif.

in_words(Seconds) when Seconds < 60 ->
    lists:flatten(io_lib:format("~w seconds", [Seconds]));
in_words(Seconds) when Seconds < 3600 ->
    lists:flatten(io_lib:format("~w minutes, ~s", [Seconds div 60, in_words(Seconds rem 60)]));
in_words(Seconds) when Seconds < 86400 ->
    lists:flatten(io_lib:format("~w hours, ~s", [Seconds div 3600, in_words(Seconds rem 3600)]));
in_words(Seconds) ->
    lists:flatten(io_lib:format("~w days, ~s", [Seconds div 86400, in_words(Seconds rem 86400)])).
